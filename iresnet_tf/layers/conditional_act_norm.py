"""A shift and a scale that depend on a context."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.layers.conditioning import Conditioning, with_conditioner
from iresnet_tf.layers.invertible import ClosedForm
from iresnet_tf.numerics.axes import event_axes, event_norm
from iresnet_tf.numerics.options import require_positive


@keras.saving.register_keras_serializable("iresnet_tf")
class ConditionalActNorm(ClosedForm):
    """``y = (x + b(c)) · exp(s(c))``, with a bias and a log-scale for each channel and context.

    ``log_det = (elements of a channel) · Σ s(c)``.  Both are linear in the features of the context
    ``c``, and ``s = largest · tanh(linear / largest)``, so ``|s| ≤ largest`` and
    ``Lip(F⁻¹) ≤ exp(largest)`` for every context.  The layer begins as the identity.  A residual
    block stretches by less than a factor of two; this layer takes the location and the scale of a
    narrow conditional density from the blocks after it.

    Args:
        context_shape: shape of one context.
        conditioner: any Keras layer or model ``[batch, …context_shape] → [batch, features]``; by
            default the features are the context, a vector.  It may be shared with a `Contraction`,
            and is in training mode only inside a Keras call in training mode.
        largest_log_scale: bound on ``|s|``.

    Shapes: ``x [batch, …, channels]`` and ``c [batch, …context_shape]`` (or
    ``[1, …context_shape]``) give ``y [batch, …, channels]`` and ``log_det [batch]``, nats.

    Raises:
        ValueError: for a ``largest_log_scale`` that is not positive; when it is built, if the
            features are not vectors.

    Source: Lu and Huang 2020 (arXiv:1905.13288), whose scale has no bound.
    """

    def __init__(
        self,
        context_shape: int | Sequence[int],
        conditioner: keras.layers.Layer | None = None,
        largest_log_scale: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conditioner = conditioner
        self._conditioning = Conditioning(context_shape, conditioner)
        self.context_shape = self._conditioning.shape
        self.largest_log_scale = require_positive(
            "largest_log_scale", largest_log_scale, "a positive number"
        )

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        _, features = self._conditioning.build(self.name)
        shape = 2 * input_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(features, shape), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(shape,), initializer="zeros")

    def _features(self, context):
        return tf.cast(self._conditioning(context), self.compute_dtype)

    def _bias_and_log_scale(self, features):
        """Returns ``b`` and ``s``, each ``[batch, 1, …, channels]``."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        linear = tf.matmul(features, kernel) + bias
        linear = tf.reshape(linear, [-1, *[1] * (len(self.event_shape) - 1), linear.shape[-1]])
        shift, log_scale = tf.split(linear, 2, axis=-1)
        return shift, self.largest_log_scale * tf.tanh(log_scale / self.largest_log_scale)

    def _forward_and_log_det(self, x, *, seed, context):
        shift, log_scale = self._bias_and_log_scale(self._features(context))
        y = (x + shift) * tf.exp(log_scale)
        return y, tf.reduce_sum(log_scale + tf.zeros_like(x), axis=event_axes(x))

    def _closed_form(self, y, *, context):
        features = self._features(context)
        shift, log_scale = self._bias_and_log_scale(features)
        scaled = y * tf.exp(-log_scale)
        # The bias and the log-scale are inner products of as many terms as there are features.
        rounding = (features.shape[-1] + 8) / 16.0 * tf.norm(self.kernel) * event_norm(features)
        rounding = tf.reshape(rounding, [-1, *[1] * len(self.event_shape)])
        return scaled - shift, scaled, shift, rounding * scaled, rounding

    def inverse_lipschitz_bound(self) -> float:
        return math.exp(self.largest_log_scale)

    def get_config(self) -> dict[str, Any]:
        config = {"largest_log_scale": self.largest_log_scale, **self._conditioning.get_config()}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**with_conditioner(config))
