"""Correlations against TensorFlow's convolution and its derivatives."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.numerics.maps.correlation import correlation

SIZES = [(3, 3), (2, 4), (1, 3), (5, 2)]
CHANNELS = [(3, 20), (20, 3), (4, 4)]


def normal(*shape, seed=0, dtype=tf.float64):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), dtype)


def convolution(x, kernel):
    return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")


def value_and_derivatives(function, x, kernel, weights):
    """Returns the value, its gradients, and the gradients of their squares."""
    with tf.GradientTape() as outer:
        outer.watch([x, kernel])
        with tf.GradientTape() as inner:
            inner.watch([x, kernel])
            value = function(x, kernel)
            loss = tf.reduce_sum(weights * value**3)
        first = inner.gradient(loss, [x, kernel])
        squares = tf.add_n([tf.reduce_sum(each**2) for each in first])
    return [value, *first, *outer.gradient(squares, [x, kernel])]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", CHANNELS, ids=str)
@pytest.mark.parametrize("is_known", [True, False])
def test_value_and_two_derivatives_are_those_of_a_convolution(size, channels, is_known):
    x, kernel = normal(1, 5, 6, channels[0]), normal(*size, *channels, seed=1)
    weights = normal(1, 5, 6, channels[1], seed=2)
    expected = value_and_derivatives(convolution, x, kernel, weights)
    signature = None if is_known else [tf.TensorSpec([1, None, None, channels[0]], tf.float64)]

    @tf.function(autograph=False, input_signature=signature)
    def found(x):
        return value_and_derivatives(correlation, x, kernel, weights)

    for one, other in zip(found(x), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11 * np.abs(other).max())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", [(3, 20), (20, 3), (16, 24), (24, 16)], ids=str)
def test_gradients_in_bfloat16_are_those_of_its_numbers(batch, channels):
    shapes = (batch, 5, 6, channels[0]), (3, 3, *channels), (batch, 5, 6, channels[1])
    numbers = [normal(*shape, seed=seed, dtype=tf.bfloat16) for seed, shape in enumerate(shapes)]

    def gradients(function, x, kernel, cotangent):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            value = function(x, kernel)
        return tape.gradient(value, [x, kernel], cotangent)

    exact = gradients(convolution, *(tf.cast(each, tf.float64) for each in numbers))
    for one, other in zip(gradients(correlation, *numbers), exact, strict=True):
        assert one.dtype == tf.bfloat16
        # Rounded to the nearest or truncated, at the size of the sum or of its terms.
        bound = 2.0**-7 * np.maximum(np.abs(other), 1.0)
        assert np.all(np.abs(tf.cast(one, tf.float64) - other) <= bound)
