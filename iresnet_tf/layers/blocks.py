"""The innermost layers of a model: its residual blocks, its activation normalisations."""

import collections
from collections.abc import Sequence

import keras

from iresnet_tf.internals import inner_layers
from iresnet_tf.layers.act_norm import ActNorm
from iresnet_tf.layers.invertible import Invertible
from iresnet_tf.layers.residual import ResidualBlock


def innermost(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the invertible layers inside a layer or model, in order.

    Layers that are made of others, such as `Stack` and `FactorOut`, are replaced by their parts;
    a layer occurs as often as data pass it.
    """
    if not isinstance(layer, Invertible):
        inner: Sequence = inner_layers(layer)
    elif layer.parts:
        inner = layer.parts
    else:
        return [layer]
    return [each for part in inner for each in innermost(part)]


def residual_blocks(model_or_layer: keras.layers.Layer) -> list[ResidualBlock]:
    """Returns every residual block in order, as often as data pass it.

    Args:
        model_or_layer: an invertible layer, or any Keras model or layer that holds some.
    """
    return [layer for layer in innermost(model_or_layer) if isinstance(layer, ResidualBlock)]


def act_norms(model_or_layer: keras.layers.Layer) -> list[ActNorm]:
    """Returns every `ActNorm` in order, as often as data pass it."""
    return [layer for layer in innermost(model_or_layer) if isinstance(layer, ActNorm)]


def lipschitz_bounds(model_or_layer: keras.layers.Layer) -> dict[str, float]:
    """Returns the certified ``Lip(g)`` of every residual block by name; ``inf`` if unknown.

    Names that occur more than once are numbered.

    Args:
        model_or_layer: see `residual_blocks`.
    """
    bounds, seen = {}, collections.Counter[str]()
    for block in residual_blocks(model_or_layer):
        seen[block.name] += 1
        number = f" ({seen[block.name]})" if seen[block.name] > 1 else ""
        bounds[block.name + number] = block.lipschitz_bound_or_inf()
    return bounds
