"""Swish and its derivative, with gradients that are written out."""

import tensorflow as tf

SWISH_SCALE = 1.1
"""``sup |d/dx x σ(x)| = 1.09984``, rounded up as in Chen et al. 2019 (arXiv:1906.02735)."""


@tf.custom_gradient
def swish(x: tf.Tensor, slope: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns ``f = x s`` and ``∂f/∂x = s (1 + t (1 − s))`` with ``t = b x``, ``s = σ(t)``.

    The gradient is written out because half the elementwise work of a training step is here: with
    ``q = s (1 − s)`` and ``e = q (2 + t (1 − 2s))``, ``∂f/∂b = x² q``, ``∂²f/∂x² = b e`` and
    ``∂²f/∂x∂b = x e``.

    Args:
        x: ``[batch, …]``.
        slope: ``b``, a scalar, or ``[batch, 1, …]`` with one for each sample.
    """
    return _with_summed_slope(slope, *_swish(x, slope))


@tf.custom_gradient
def swish_value(x: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """Returns the first result of `swish`; its gradient takes half of the operations."""
    (value, _), gradient = _swish(x, slope)
    return _with_summed_slope(slope, value, gradient)


def _swish(x, slope):
    # The largest slope keeps b x finite; f is a ReLU long before.
    slope = tf.minimum(slope, 1e18)
    t = slope * x
    # TensorFlow evaluates tanh in half the time of σ.
    s = 0.5 + 0.5 * tf.tanh(0.5 * t)
    rest = 1.0 - s
    derivative = s * (1.0 + t * rest)

    def gradient(of_value, of_derivative=None):
        """Returns the gradient of ``x``, and terms whose sum is that of the slope."""
        q = s * rest
        to_x, to_slope = of_value * derivative, of_value * (x * q)
        if of_derivative is not None:
            curved = of_derivative * (q * (2.0 + t * (rest - s)))
            to_x, to_slope = to_x + slope * curved, to_slope + curved
        return to_x, x * to_slope

    return (x * s, derivative), gradient


def _with_summed_slope(slope, outputs, gradient):
    axes = [*range(1, slope.shape.rank)] or None

    def summed(*cotangents):
        to_x, to_slope = gradient(*cotangents)
        return to_x, tf.reduce_sum(to_slope, axes, keepdims=axes is not None)

    return outputs, summed
