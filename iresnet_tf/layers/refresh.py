"""The spectral layers of a model, and the refinement of their singular vectors."""

import keras

from iresnet_tf.internals import inner_layers
from iresnet_tf.layers.spectral import SpectralLayer


def refresh(model_or_layer: keras.layers.Layer, tolerance: float = 1e-4) -> None:
    """Refines the singular vectors of every spectral layer inside a model or layer.

    Args:
        model_or_layer: a Keras model or layer.
        tolerance: relative accuracy of ``σ``.
    """
    for layer in spectral_layers(model_or_layer):
        layer.refresh(tolerance)


def spectral_layers(model_or_layer: keras.layers.Layer) -> list[SpectralLayer]:
    """Returns every built spectral layer inside a model or layer, in order, each once."""
    visited = {}

    def visit(layer):
        if id(layer) not in visited:
            visited[id(layer)] = layer
            for inner in inner_layers(layer):
                visit(inner)

    visit(model_or_layer)
    return [layer for layer in visited.values() if isinstance(layer, SpectralLayer) and layer.built]
