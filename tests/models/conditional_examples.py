"""Provides conditional blocks, and pairs of samples and contexts, for two test files."""

import keras
import numpy as np

from iresnet_tf import layers
from iresnet_tf.numerics.log_det import Exact
from iresnet_tf.numerics.solvers import Anderson

SHAPES = {"dense": (3,), "conv": (4, 3, 2), "dense net": (4, 3, 2)}
CONTEXT = (5,)


def conditioner(units=4):
    return keras.Sequential([keras.layers.Dense(units, "tanh", dtype="float64")])


def contraction(kind, **options):
    options = {"context_shape": CONTEXT, "conditioner": conditioner(), "dtype": "float64"} | options
    if kind == "dense":
        return layers.Contraction.mlp((8, 4), **options)
    if kind == "conv":
        return layers.Contraction.conv(3, (3, 1, 2), **options)
    return layers.Contraction.dense_net(growth=2, depth=2, kernel_size=2, **options)


def block_of(kind="dense", log_det=None, **options):
    block = layers.ResidualBlock(
        contraction(kind, **options),
        log_det=log_det or Exact(),
        solver=Anderson(tolerance=1e-12),
    )
    block.build((None, *SHAPES[kind]))
    return block


def pairs(kind="dense", batch=4, seed=1):
    random = np.random.default_rng(seed)
    return random.normal(size=(batch, *SHAPES[kind])), 3.0 * random.normal(size=(batch, *CONTEXT))
