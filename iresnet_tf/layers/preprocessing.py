"""Fixed elementwise maps from data to the space where a flow models them."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from iresnet_tf.layers.invertible import ClosedForm
from iresnet_tf.numerics import random
from iresnet_tf.numerics.axes import batch_shape, dimension_of, event_axes
from iresnet_tf.numerics.execution import replicas
from iresnet_tf.numerics.options import require_integer


class Preprocessing(ClosedForm):
    """Base of the fixed elementwise maps; a `Stack` scales a tolerance by their constants."""

    def _unit(self):
        return self.inverse_lipschitz_bound()

    def _constant_log_det(self, x, per_element):
        log_det = dimension_of(x) * per_element
        return tf.fill(batch_shape(x), tf.constant(log_det, x.dtype))


@keras.saving.register_keras_serializable("iresnet_tf")
class Dequantize(Preprocessing):
    """``y = (x + u)/n``: levels ``{0, …, n−1}`` with uniform noise ``u``, scaled to ``[0, 1)``.

    As an invertible map the layer is ``x ↦ x / n``, with ``log_det = −D ln n``.  Only `add_noise`
    and ``call`` with ``training=True`` add noise.  A density model adds it in ``fit`` and
    ``evaluate``.

    Args:
        levels: ``n``, the number of levels (256 for 8-bit images).

    Raises:
        ValueError: for fewer than two levels.
        tf.errors.InvalidArgumentError: from `add_noise`, for data that are not levels.

    Source: Uria et al. 2013 (arXiv:1306.0186); Theis et al. 2016 (arXiv:1511.01844).
    """

    def __init__(self, levels: int = 256, **kwargs) -> None:
        super().__init__(**kwargs)
        self.levels = require_integer("levels", levels, least=2)

    def add_noise(self, x: Any, seed: Any) -> tf.Tensor:
        """Returns ``x + u``, where ``u``, uniform on ``[0, 1)``, depends on seed and example."""
        x = self._require_levels(x)
        noise = random.uniform(tf.shape(x), random.as_seed(seed), x.dtype)
        # In float32 x + u may round up to the next level; the minimum stays below it.
        return tf.minimum(x + noise, (x + 1.0) * (1.0 - np.finfo(x.dtype.as_numpy_dtype).eps))

    def centres(self, x: Any) -> tf.Tensor:
        """Returns ``x + 1/2``, the centre of the cell of each level."""
        return self._require_levels(x) + 0.5

    def require_range(self, x: tf.Tensor) -> None:
        """Fails unless ``x`` lies in ``[0, n]``, the range of levels plus noise."""
        within = (x >= 0.0) & (x <= float(self.levels))
        self._require(within, "levels plus noise", self.levels, x)

    def _require_levels(self, x):
        x = self._prepare(x)
        is_level = (x >= 0.0) & (x <= self.levels - 1.0) & (x == tf.floor(x))
        self._require(is_level, "whole numbers", self.levels - 1, x)
        return x

    def _require(self, condition, kind, highest, x):
        message = (
            f"{self.name} takes {kind} in [0, {highest}] ({self.levels} levels). Scale the "
            "pixels back to levels, or set `levels` to theirs. Received minimum and maximum:"
        )
        values = [message, tf.reduce_min(x), tf.reduce_max(x)]
        tf.debugging.Assert(tf.reduce_all(condition), values)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training:
            x = self.add_noise(x, replicas.placed_seed(self._next_seed(), tf.shape(x)[0]))
        return x / self.levels

    def _forward_and_log_det(self, x, *, seed, context):
        return x / self.levels, self._constant_log_det(x, -math.log(self.levels))

    def _closed_form(self, y, *, context):
        x = y * self.levels
        return x, x

    def to_levels(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the level of a continuous point, ``clip(⌊x⌋, 0, n−1)``."""
        return tf.clip_by_value(tf.floor(x), 0.0, self.levels - 1.0)

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return float(self.levels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": self.levels}


@keras.saving.register_keras_serializable("iresnet_tf")
class Logit(Preprocessing):
    """``y = logit(α + (1 − 2α) x)`` for ``x`` in ``[0, 1]``.

    ``log_det = Σ ln(1 − 2α) − ln p − ln(1 − p)`` with ``p = α + (1 − 2α) x``.

    Args:
        alpha: ``α`` in (0, 1/2); 0.05 for natural images, 1e-6 for MNIST.

    Raises:
        ValueError: for ``alpha`` outside (0, 1/2).

    Source: Dinh et al. 2017 (arXiv:1605.08803), §4.1.
    """

    def __init__(self, alpha: float = 0.05, **kwargs) -> None:
        super().__init__(**kwargs)
        if not 0.0 < alpha < 0.5:
            raise ValueError(f"alpha lies between 0 and 1/2 (exclusive); received {alpha!r}.")
        self.alpha = float(alpha)

    def _forward_and_log_det(self, x, *, seed, context):
        p = self.alpha + (1.0 - 2.0 * self.alpha) * x
        # q = 1 − p, without cancellation for x near 1.
        q = self.alpha + (1.0 - 2.0 * self.alpha) * (1.0 - x)
        log_p, log_q = tf.math.log(p), tf.math.log(q)
        log_det = self._constant_log_det(x, math.log(1.0 - 2.0 * self.alpha))
        return log_p - log_q, log_det - tf.reduce_sum(log_p + log_q, event_axes(x))

    def _closed_form(self, y, *, context):
        width = 1.0 - 2.0 * self.alpha
        p = tf.sigmoid(y)
        return (p - self.alpha) / width, p / width, self.alpha / width

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return 0.25 / (1.0 - 2.0 * self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable("iresnet_tf")
class Center(Preprocessing):
    """``y = x − offset``; ``log_det = 0``.

    Args:
        offset: the number to subtract; 1/2 centres data scaled to ``[0, 1]``.
    """

    def __init__(self, offset: float = 0.5, **kwargs) -> None:
        super().__init__(**kwargs)
        self.offset = float(offset)

    def _forward_and_log_det(self, x, *, seed, context):
        return x - self.offset, self._constant_log_det(x, 0.0)

    def _closed_form(self, y, *, context):
        return y + self.offset, y, self.offset

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return 1.0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "offset": self.offset}


@keras.saving.register_keras_serializable("iresnet_tf")
class Standardize(Preprocessing):
    """``y = (x − mean) / stddev``; ``log_det = −Σ ln stddev``.

    Args:
        mean, stddev: numbers, or sequences with a number for each channel (the last axis).

    Raises:
        ValueError: for a stddev that is not positive, or sequences of different lengths.
    """

    def __init__(self, mean: ArrayLike, stddev: ArrayLike, **kwargs) -> None:
        super().__init__(**kwargs)
        self.mean = np.asarray(mean, np.float64)
        self.stddev = np.asarray(stddev, np.float64)
        finite = np.isfinite(self.mean).all() and np.isfinite(self.stddev).all()
        if not (finite and np.all(self.stddev > 0.0)) or self.mean.shape != self.stddev.shape:
            raise ValueError(
                "mean and stddev are finite numbers or sequences of one length, stddev positive; "
                f"received mean {mean!r} and stddev {stddev!r}."
            )

    def _forward_and_log_det(self, x, *, seed, context):
        y = (x - tf.constant(self.mean, x.dtype)) / tf.constant(self.stddev, x.dtype)
        return y, self._constant_log_det(x, -float(np.mean(np.log(self.stddev))))

    def _closed_form(self, y, *, context):
        scaled, mean = y * tf.constant(self.stddev, y.dtype), tf.constant(self.mean, y.dtype)
        return scaled + mean, scaled, mean

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return float(np.max(self.stddev))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean.tolist(), "stddev": self.stddev.tolist()}
