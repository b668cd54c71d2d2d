"""Spectral layers and their true norms."""

import numpy as np
import tensorflow as tf

from iresnet_tf import layers
from iresnet_tf.numerics.maps.operators import Convolution

COEFF = 0.8
STEPS = 300


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def true_norm(matrix_of, layer):
    """Returns the largest singular value of the operator that the layer applies, as a matrix."""
    kernel = tf.cast(layer.constrained_kernel(), tf.float64)
    if isinstance(layer, layers.SpectralDense):
        return np.linalg.norm(kernel.numpy(), 2)
    return np.linalg.norm(matrix_of(Convolution(kernel), (*layer.grid, kernel.shape[2])), 2)


def assert_constrained_and_certified(matrix_of, layer, coeff):
    norm = true_norm(matrix_of, layer)
    assert norm <= coeff * 1.001
    assert norm * (1 - 1e-12) <= layer.lipschitz_bound() <= norm * 1.02


def built(kind, kernel_size=3, grid=(6, 5), channels=(3, 4), **options):
    options = {"coeff": COEFF, **options}
    if kind == "dense":
        layer = layers.SpectralDense(channels[1], **options)
        layer.build((None, channels[0]))
    else:
        layer = layers.SpectralConv2D(channels[1], kernel_size, **options)
        layer.build((None, *grid, channels[0]))
    return layer


def vectors(layer):
    return [layer.right_vector.numpy(), layer.left_vector.numpy()]
