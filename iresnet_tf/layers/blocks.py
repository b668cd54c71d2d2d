"""Finds the layers of one kind in a model, reads its bounds, and replaces estimators for a time."""

import collections
import contextlib
from collections.abc import Iterator, Sequence

import keras

from iresnet_tf.internals import inner_layers
from iresnet_tf.layers.act_norm import ActNorm
from iresnet_tf.layers.invertible import Invertible
from iresnet_tf.layers.residual import REPLACEMENTS, ResidualBlock
from iresnet_tf.numerics import log_det


def innermost(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the invertible layers inside a layer or model, in order.

    Layers that are made of others, such as `Stack` and `FactorOut`, are replaced by their parts.
    A layer that data pass several times occurs as often.
    """
    if isinstance(layer, Invertible) and not layer.parts:
        return [layer]
    parts: Sequence = layer.parts if isinstance(layer, Invertible) else inner_layers(layer)
    return [inner for part in parts for inner in innermost(part)]


def residual_blocks(model_or_layer: keras.layers.Layer) -> list[ResidualBlock]:
    """Returns the residual blocks of a Keras model or layer in order: see `innermost`."""
    return [layer for layer in innermost(model_or_layer) if isinstance(layer, ResidualBlock)]


def act_norms(model_or_layer: keras.layers.Layer) -> list[ActNorm]:
    """Returns the `ActNorm` layers of a Keras model or layer in order: see `innermost`."""
    return [layer for layer in innermost(model_or_layer) if isinstance(layer, ActNorm)]


@contextlib.contextmanager
def estimator_replaced(flow: Invertible, estimator: log_det.LogDet) -> Iterator[None]:
    """Uses another estimator for every residual block of a flow within a ``with`` statement.

    The flow does not change: only the thread of the ``with`` statement uses the estimator, so
    other threads may use the flow meanwhile.
    """
    blocks = dict.fromkeys(residual_blocks(flow), log_det.get(estimator))
    token = REPLACEMENTS.set({**REPLACEMENTS.get(), **blocks})
    try:
        yield
    finally:
        REPLACEMENTS.reset(token)


def lipschitz_bounds(model_or_layer: keras.layers.Layer) -> dict[str, float]:
    """Returns the certified ``Lip(g)`` of every residual block by name; ``inf`` if unknown.

    Names that occur more than once are numbered.  The bounds of `vouched_blocks` are not certified.
    """
    blocks = _by_name(model_or_layer)
    return {name: block.lipschitz_bound_or_inf() for name, block in blocks.items()}


def vouched_blocks(model_or_layer: keras.layers.Layer) -> list[str]:
    """Returns the names of the blocks whose bound rests on a given ``lipschitz``.

    The names are those of `lipschitz_bounds`.
    """
    return [name for name, block in _by_name(model_or_layer).items() if block.is_vouched]


def _by_name(model_or_layer):
    blocks, seen = {}, collections.Counter[str]()
    for block in residual_blocks(model_or_layer):
        seen[block.name] += 1
        number = f" ({seen[block.name]})" if seen[block.name] > 1 else ""
        blocks[block.name + number] = block
    return blocks
