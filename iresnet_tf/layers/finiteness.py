"""Where the weights of a model stopped being numbers."""

import keras
import numpy as np

from iresnet_tf.layers.invertible import Invertible


def layers_not_finite(model_or_layer):
    """Names of the layers that hold a weight with NaN or Inf, in the order of the model.

    A residual block counts as one layer, with all that is inside it.

    Args:
        model_or_layer: a Keras model or layer.
    """
    return [layer.name for layer in _units(model_or_layer) if not _is_finite(layer)]


def _units(layer):
    inner = [*layer._flatten_layers(include_self=False, recursive=False)]
    is_unit = not inner or (isinstance(layer, Invertible) and not layer.parts)
    return [layer] if is_unit else [unit for each in inner for unit in _units(each)]


def _is_finite(layer):
    floats = [w for w in layer.weights if keras.backend.is_float_dtype(w.dtype)]
    return all(np.isfinite(weight.numpy()).all() for weight in floats)
