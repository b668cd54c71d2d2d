"""The inputs of the residual blocks of a flow."""

from collections.abc import Iterator

import tensorflow as tf

from iresnet_tf.layers import FactorOut, Invertible, ResidualBlock


def block_inputs(layer: Invertible, x: tf.Tensor) -> Iterator[tuple[ResidualBlock, tf.Tensor]]:
    """Yields every residual block of an invertible layer in order, with the batch it receives.

    Args:
        layer: a built invertible layer.
        x: ``[batch, …event]``, the input of the layer.

    Raises:
        ValueError: for a conditional layer, because no context is given.
    """
    layer._condition(None, x)
    if isinstance(layer, ResidualBlock):
        yield layer, x
    elif isinstance(layer, FactorOut):
        yield from block_inputs(layer.rest, x[..., layer.channels :])
    else:
        for part in layer.parts:
            yield from block_inputs(part, x)
            x = part(x)
