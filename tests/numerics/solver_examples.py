"""Contractions and inverses that the tests of the solvers share."""

import functools

import numpy as np
import tensorflow as tf

from iresnet_tf import layers
from iresnet_tf.numerics.solvers import Anderson, Picard

SOLVERS = [Picard, Anderson]
SHAPES = [(2,), (8,), (64,), (6, 6, 4)]
ACTIVATIONS = ["relu", "elu", "lipswish"]
PRECISIONS = [("float32", 1e-6), ("float64", 1e-10)]


def normal(*shape, seed=0, dtype=tf.float32):
    return tf.cast(np.random.default_rng(seed).standard_normal(shape), dtype)


@functools.cache
def random_contraction(shape, activation="elu", coeff=0.9, bias=1.0, seed=0, dtype="float32"):
    """Returns a contraction with active constraints and ``Lip(g)`` well below ``coeff³``."""
    options = {"activation": activation, "coeff": coeff, "dtype": dtype}
    if len(shape) == 1:
        g = layers.Contraction.mlp((32, 32), **options)
    else:
        g = layers.Contraction.conv(8, (3, 1, 3), **options)
    g.build((None, *shape))
    random = np.random.default_rng(seed)
    for layer in layers.spectral_layers(g):
        layer.kernel.assign(random.standard_normal(layer.kernel.shape))
        layer.bias.assign(bias * random.standard_normal(layer.bias.shape))
    layers.refresh(g, 1e-6)
    return g


def aligned_contraction(activation, coeff, size=8, width=32, dtype="float64"):
    """Returns a contraction with aligned singular vectors: ``J`` has an eigenvalue of coeff³."""
    g = layers.Contraction.mlp((width, width), activation=activation, coeff=coeff, dtype=dtype)
    g.build((None, size))
    random = np.random.default_rng(0)
    first = random.standard_normal(size)
    right = first = first / np.linalg.norm(first)
    for layer in layers.spectral_layers(g):
        rows, columns = layer.kernel.shape
        # Hidden vectors are positive, where relu and elu have slope one.
        left = first if columns == size else np.abs(random.standard_normal(columns))
        left = left / np.linalg.norm(left)
        rest = random.standard_normal((rows, columns)) / (np.sqrt(rows) + np.sqrt(columns))
        rest -= np.outer(right, right @ rest)
        rest -= np.outer(rest @ left, left)
        layer.kernel.assign(3.0 * np.outer(right, left) + rest)
        right = left
    layers.refresh(g, 1e-9)
    return g


def preimage(block, y):
    """Returns the true inverse, from a float64 copy of the block that is solved to rounding."""
    block._prepare(y)
    config = block.get_config()
    wide = layers.ResidualBlock.from_config(as_float64(config))
    wide.build((None, *y.shape[1:]))
    wide.set_weights(block.get_weights())
    wide.solver = Anderson(tolerance=1e-13, max_iterations=5000)
    found = wide.inverse(tf.cast(y, tf.float64))
    gap = 1 - wide.lipschitz_bound()
    assert float(tf.reduce_max(found.residual)) / gap < 1e-9
    return found.x


def as_float64(config):
    """Returns the configuration with every float32 policy replaced."""
    if isinstance(config, dict):
        return {key: as_float64(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(as_float64(each) for each in config)
    return "float64" if config == "float32" else config


def solve(solver, g, y):
    """Returns the solver's result from a compiled function, because an eager loop is slow."""
    return tf.function(lambda y: solver(g, y), autograph=False)(y)


def norms(x):
    return np.linalg.norm(x.numpy().reshape(len(x), -1), axis=1)
