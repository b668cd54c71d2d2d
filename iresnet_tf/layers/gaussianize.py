"""Maps data to a standard normal law by the cumulative distribution of their values."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from iresnet_tf.layers.preprocessing import Preprocessing
from iresnet_tf.numerics.axes import event_axes


@keras.saving.register_keras_serializable("iresnet_tf")
class Gaussianize(Preprocessing):
    """``y = Φ⁻¹(α + (1 − 2α) F(x))`` for ``x`` in ``[0, 1]``, elementwise.

    ``Φ`` is the standard normal distribution function.  ``F`` is a piecewise linear distribution
    function: bin ``k`` of ``n`` equal bins has the probability ``p_k``.  If these are the
    frequencies of the levels of dequantized data, every ``y`` is standard normal, and the flow
    begins at the likelihood of independent values.  This matters where one level dominates, like
    the background of MNIST.

    ``log_det = Σ ln((1 − 2α) n p_k) − ln φ(y)``, with the normal density ``φ``.

    Args:
        probabilities: ``p``, ``[n]``, positive; they are divided by their sum.
        alpha: ``α`` in (0, 1/2), which keeps ``y`` finite; 1e-6 gives ``|y| ≤ 4.75``.

    Raises:
        ValueError: for probabilities that are not positive, finite and one-dimensional, or
            ``alpha`` outside (0, 1/2).

    Source: Chen and Gopinath 2000, "Gaussianization", §2 (one-dimensional marginals).
    """

    def __init__(self, probabilities: ArrayLike, alpha: float = 1e-6, **kwargs) -> None:
        super().__init__(**kwargs)
        weights = np.asarray(probabilities, np.float64)
        if weights.ndim != 1 or not (np.isfinite(weights).all() and np.all(weights > 0.0)):
            raise ValueError(
                "probabilities is a sequence of positive numbers, one for each bin of [0, 1]; "
                f"received {probabilities!r}."
            )
        if not 0.0 < alpha < 0.5:
            raise ValueError(f"alpha lies between 0 and 1/2 (exclusive); received {alpha!r}.")
        self.probabilities = weights / weights.sum()
        self.alpha = float(alpha)
        # Sums from both ends, because 1 − F(x) loses all digits where F(x) is close to 1.
        self._below = np.concatenate([[0.0], np.cumsum(self.probabilities)[:-1]])
        self._above = np.concatenate([np.cumsum(self.probabilities[:0:-1])[::-1], [0.0]])

    @classmethod
    def of_levels(cls, x: ArrayLike, levels: int, floor: float = 0.01, **kwargs) -> "Gaussianize":
        """Returns the layer of the frequencies of the levels in ``x``.

        Args:
            x: whole numbers in ``{0, …, levels − 1}``, of any shape.
            levels: number of levels.
            floor: weight of the uniform law that is mixed in, for levels that are rare or absent.
            **kwargs: of the layer.
        """
        counts = np.bincount(np.asarray(x, np.int64).ravel(), minlength=levels)
        return cls((1.0 - floor) * counts / counts.sum() + floor / levels, **kwargs)

    def _forward_and_log_det(self, x, *, seed, context):
        bins = len(self.probabilities)
        width = 1.0 - 2.0 * self.alpha
        left = tf.clip_by_value(tf.floor(x * bins), 0.0, bins - 1.0)
        probability, below, above = self._of_bin(tf.cast(left, tf.int32), x.dtype)
        share = x * bins - left
        p = self.alpha + width * (below + probability * share)
        q = self.alpha + width * (above + probability * (1.0 - share))
        tail = tf.math.ndtri(tf.minimum(p, q))
        y = tf.where(p < q, tail, -tail)
        constant = math.log(width * bins * math.sqrt(2.0 * math.pi))
        slope = tf.math.log(probability) + 0.5 * tf.square(y)
        return y, self._constant_log_det(x, constant) + tf.reduce_sum(slope, event_axes(x))

    def _closed_form(self, y, *, context):
        bins = len(self.probabilities)
        width = 1.0 - 2.0 * self.alpha
        is_low = y < 0.0
        normal = 0.5 * tf.math.erfc(tf.abs(y) / math.sqrt(2.0)) / width
        tail = normal - self.alpha / width
        # In the upper half, bins are counted from the right.
        from_left = self._bin(tail, self._below)
        from_right = bins - 1 - self._bin(tail, self._above[::-1])
        index = tf.where(is_low, from_left, from_right)
        probability, below, above = self._of_bin(index, y.dtype)
        scale = bins * probability
        passed = tf.where(is_low, below, above)
        share = (tail - passed) / scale
        edge = tf.cast(tf.where(is_low, index, index + 1), y.dtype) / bins
        x = edge + tf.where(is_low, share, -share)
        # `erfc` is rounded to a few units more than a product.
        return x, edge, 4.0 * normal / scale, passed / scale, self.alpha / scale

    def _of_bin(self, index, dtype):
        tables = self.probabilities, self._below, self._above
        return [tf.gather(tf.constant(table, dtype), index) for table in tables]

    def _bin(self, values, edges):
        """Returns the last bin whose edge is at most the value, or the first bin."""
        flat = tf.reshape(values, [-1])
        found = tf.searchsorted(tf.constant(edges, values.dtype), flat, side="right") - 1
        return tf.reshape(tf.maximum(found, 0), tf.shape(values))

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        slowest = len(self.probabilities) * np.min(self.probabilities)
        return float(1.0 / (math.sqrt(2.0 * math.pi) * (1.0 - 2.0 * self.alpha) * slowest))

    def get_config(self) -> dict[str, Any]:
        fields = {"probabilities": self.probabilities.tolist(), "alpha": self.alpha}
        return {**super().get_config(), **fields}
