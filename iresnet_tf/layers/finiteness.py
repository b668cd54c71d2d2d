"""Search for the layers of a model whose weights are no longer finite."""

import keras
import numpy as np

from iresnet_tf.internals import inner_layers
from iresnet_tf.layers.invertible import Invertible


def layers_not_finite(model_or_layer: keras.layers.Layer) -> list[str]:
    """Returns the names of a Keras model's layers with NaN or Inf in a weight, in order.

    A residual block counts as one layer, together with the layers inside it.
    """
    return [layer.name for layer in _units(model_or_layer) if not _is_finite(layer)]


def _units(layer):
    inner = inner_layers(layer)
    is_unit = not inner or (isinstance(layer, Invertible) and not layer.parts)
    return [layer] if is_unit else [unit for part in inner for unit in _units(part)]


def _is_finite(layer):
    floats = [w for w in layer.weights if keras.backend.is_float_dtype(w.dtype)]
    return all(np.isfinite(weight.numpy()).all() for weight in floats)
