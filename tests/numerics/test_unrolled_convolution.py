"""The convolution as one matrix is TensorFlow's own zero-padded convolution."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.numerics.maps.operators import UnrolledConvolution

CASES = [((4, 4), (3, 3)), ((3, 5), (3, 5)), ((4, 4), (2, 2)), ((2, 3), (5, 5)), ((4, 3), (1, 4))]


@pytest.mark.parametrize("grid,size", CASES, ids=str)
def test_value_and_adjoint_are_those_of_tensorflow(grid, size):
    generator = np.random.default_rng(0)
    kernel = tf.constant(generator.normal(size=(*size, 3, 5)))
    v = tf.constant(generator.normal(size=(6, *grid, 3)))
    u = tf.constant(generator.normal(size=(6, *grid, 5)))
    with tf.GradientTape() as tape:
        tape.watch(v)
        expected = tf.nn.conv2d(v, kernel, strides=1, padding="SAME")
    operator = UnrolledConvolution.from_kernel(kernel, grid)
    np.testing.assert_allclose(operator(v), expected, atol=1e-12)
    np.testing.assert_allclose(operator.adjoint(u), tape.gradient(expected, v, u), atol=1e-12)
    np.testing.assert_allclose(operator.adjoint_in(u.dtype)(u), operator.adjoint(u), atol=1e-12)
    probes = tf.stack([v, 2.0 * v])
    np.testing.assert_allclose(operator(probes)[1], 2.0 * expected, atol=1e-12)
