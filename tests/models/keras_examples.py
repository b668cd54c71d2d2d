"""Provides models of a user of stock Keras, and their data, for two test files."""

import keras
import numpy as np

import iresnet_tf as irn
from iresnet_tf import layers


def block(name=None, units=(8,), **options):
    g = layers.Contraction.mlp(units, activation="elu", **options)
    return layers.ResidualBlock(g, log_det=irn.log_det.Exact(), name=name)


def density(**options):
    parts = [layers.ActNorm(name="norm"), block("first"), block("second")]
    return irn.models.DensityModel(parts, seed=0, **options)


def points(count=64):
    return np.random.default_rng(0).normal(size=(count, 2)).astype("float32") * [2.0, 0.5]


def stock(optimizer):
    """Returns a functional model with a block between stock layers."""
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, name="before")(inputs)
    outputs = keras.layers.Dense(1, name="after")(block("inside")(hidden))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, "mse")
    return model


def regression(count=64):
    x = np.random.default_rng(1).normal(size=(count, 3)).astype("float32")
    return x, 5.0 * x[:, :1] ** 2


def spectral_norms(model):
    """Returns the norms, by SVD, of the kernels that the layers apply."""
    kernels = [layer.constrained_kernel().numpy() for layer in layers.spectral_layers(model)]
    return [np.linalg.svd(kernel, compute_uv=False)[0] for kernel in kernels]
