"""Swish and its derivative, with gradients that are written out."""

import functools
from collections.abc import Callable

import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla

SWISH_SCALE = 1.1
"""``sup |d/dx x σ(x)| = 1.09984``, rounded up as in Chen et al. 2019 (arXiv:1906.02735)."""


@tf.custom_gradient
def swish(x: tf.Tensor, slope: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns ``f = x s`` and ``∂f/∂x = s (1 + t (1 − s))`` with ``t = b x``, ``s = σ(t)``.

    The gradient is written out because half the elementwise work of a training step is here: with
    ``q = s (1 − s)`` and ``e = q (2 + t (1 − 2s))``, ``∂f/∂b = x² q``, ``∂²f/∂x² = b e`` and
    ``∂²f/∂x∂b = x e``.
    """
    return _with_summed_slope(*_swish(x, slope))


@tf.custom_gradient
def swish_value(x: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """Returns the first result of `swish`; its gradient takes half of the operations."""
    (value, _), gradient = _swish(x, slope)
    return _with_summed_slope(value, gradient)


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


def _with_summed_slope(outputs, gradient):
    def summed(*cotangents):
        to_x, to_slope = gradient(*cotangents)
        return to_x, tf.reduce_sum(to_slope)

    return outputs, summed


@tf.custom_gradient
def low_swish(x: tf.Tensor, slope: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `swish` and its derivative over 1.1 for ``x`` in bfloat16, rounded to bfloat16.

    All between is computed in float32, in one pass over memory: XLA compiles it.

    Args:
        x: ``[batch, …]``, bfloat16.
        slope: ``b``, float32.
    """
    return _with_summed_slope(_fused(_low_values)(x, slope), _low_gradient(x, slope))


@tf.custom_gradient
def low_swish_value(x: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """Returns the first result of `low_swish`."""
    return _with_summed_slope(_fused(_low_value)(x, slope), _low_gradient(x, slope))


def _low_values(x, slope):
    outputs, _ = _swish(tf.cast(x, slope.dtype), slope)
    return tuple(tf.cast(output * (1.0 / SWISH_SCALE), x.dtype) for output in outputs)


def _low_value(x, slope):
    return _low_values(x, slope)[0]


def _low_gradient(x, slope):
    # The sum is left to TensorFlow, because XLA's sum on a CPU is less accurate.
    return functools.partial(_fused(_low_gradients), x, slope)


def _low_gradients(x, slope, *cotangents):
    _, gradient = _swish(tf.cast(x, slope.dtype), slope)
    scaled = (tf.cast(cotangent, slope.dtype) * (1.0 / SWISH_SCALE) for cotangent in cotangents)
    to_x, to_slope = gradient(*scaled)
    return tf.cast(to_x, x.dtype), to_slope


@functools.cache
def _compiled(function):
    return tf.function(function, autograph=False, jit_compile=True)


def _fused(function: Callable) -> Callable:
    """Returns the function, compiled by XLA where that needs nothing but the CPU."""
    if is_traced_for_xla() or tf.config.list_physical_devices("GPU"):
        return function
    return _compiled(function)
