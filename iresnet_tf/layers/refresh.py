"""Refinement of the singular vectors of a model's spectral layers."""

import keras

from iresnet_tf.internals import inner_layers
from iresnet_tf.layers.spectral import SpectralLayer


def refresh(model_or_layer: keras.layers.Layer, tolerance: float = 1e-4) -> None:
    """Refines the singular vectors of a model's spectral layers to a relative accuracy of ``σ``."""
    for layer in spectral_layers(model_or_layer):
        layer.refresh(tolerance)


def spectral_layers(model_or_layer: keras.layers.Layer) -> list[SpectralLayer]:
    """Returns the built spectral layers inside a model or layer, in order and without repeats."""
    found = dict.fromkeys(_layers_in(model_or_layer))
    return [layer for layer in found if isinstance(layer, SpectralLayer) and layer.built]


def _layers_in(layer):
    yield layer
    for inner in inner_layers(layer):
        yield from _layers_in(inner)
