"""Fixtures of several test files: seeds, matrices of operators, Jacobians, small contractions."""

import functools
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers


def pytest_collection_finish():
    """Spares the garbage collector what is imported: walks over all of it take minutes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Returns a folder of TFDS data sets, which are prepared on first use."""
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="session")
def matrix_of():
    """Returns the matrix ``[out, in]`` of a linear map of ``[batch, …shape]``, by unit vectors."""

    def matrix_of(function, shape):
        size = int(np.prod(shape))
        columns = function(tf.reshape(tf.eye(size, dtype=tf.float64), [size, *shape]))
        return columns.numpy().reshape(size, -1).T

    return matrix_of


@pytest.fixture(scope="session")
def jacobian_of():
    """Returns the Jacobians ``[batch, out, in]`` of a function at a batch, by differentiation.

    It makes a copy of the batch for every output, so that one backward pass serves them all.
    """

    def jacobian_of(function, x):
        x = tf.convert_to_tensor(x)
        batch, out = x.shape[0], function(x).shape[1:].num_elements()
        copies = tf.repeat(x, out, axis=0)
        with tf.GradientTape() as tape:
            tape.watch(copies)
            y = tf.reshape(function(copies), [batch, out, out])
            diagonal = tf.linalg.trace(y)
        return tf.reshape(tape.gradient(diagonal, copies), [batch, out, -1])

    return jacobian_of


SHAPES = {"dense": (6,), "conv": (4, 3, 2)}


@pytest.fixture(scope="session")
def contraction():
    """Returns a small float64 contraction with active constraints and biases that are not zero.

    Equal arguments give the same object: do not change its weights.
    """

    @functools.cache
    def contraction(kind, activation="elu", coeff=0.9, seed=0, **options):
        options = {"activation": activation, "coeff": coeff, "dtype": "float64", **options}
        if kind == "dense":
            g = layers.Contraction.mlp((8, 4), **options)
        else:
            g = layers.Contraction.conv(4, (3, 1, 2), **options)
        g.build((None, *SHAPES[kind]))
        random = np.random.default_rng(seed)
        for layer in layers.spectral_layers(g):
            layer.kernel.assign(2.0 * random.standard_normal(layer.kernel.shape))
            layer.bias.assign(random.standard_normal(layer.bias.shape))
        layers.refresh(g, tolerance=1e-9)
        return g

    return contraction


@pytest.fixture(scope="session")
def batch_for():
    """Returns standard normal samples for a contraction of the given kind."""

    def batch_for(kind, batch, seed=1, dtype=tf.float64):
        shape = (batch, *SHAPES[kind])
        return tf.constant(np.random.default_rng(seed).standard_normal(shape), dtype)

    return batch_for
