"""Small models and data for the tests of the studies."""

import numpy as np

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.models import architectures

POINTS = np.random.default_rng(2).normal(size=(8, 2)).astype(np.float32)


def image_model(grid=(8, 8), channels=1, **options):
    flow = architectures.image_flow((1, 1), 6, activation="elu", factor_out=True, **options)
    preprocessing = [layers.Dequantize(16), layers.Center()]
    model = irn.models.DensityModel(flow, preprocessing=preprocessing, seed=0)
    model.build((None, *grid, channels))
    random = np.random.default_rng(0)
    for layer in layers.spectral_layers(model):
        layer.kernel.assign(random.normal(size=layer.kernel.shape))
    layers.refresh(model, 1e-6)
    return model


def images(count=4, grid=(8, 8), channels=1):
    return np.random.default_rng(1).integers(0, 16, (count, *grid, channels)).astype(np.float32)


def linear_model(matrix):
    """A single block ``x + x K`` with the given matrix, whose norm is below the coefficient."""
    g = layers.Contraction([layers.SpectralDense(len(matrix), coeff=0.95, use_bias=False)])
    model = irn.models.DensityModel([layers.ResidualBlock(g)], seed=0)
    model.build((None, len(matrix)))
    layers.spectral_layers(model)[0].kernel.assign(matrix)
    layers.refresh(model, 1e-6)
    return model
