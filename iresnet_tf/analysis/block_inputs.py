"""The points that reach each residual block of a flow."""

from collections.abc import Iterator

import tensorflow as tf

from iresnet_tf.layers import FactorOut, Invertible, ResidualBlock


def block_inputs(layer: Invertible, x: tf.Tensor) -> Iterator[tuple[ResidualBlock, tf.Tensor]]:
    """Yields every residual block of an invertible layer in order, with the batch it receives.

    Args:
        layer: a built invertible layer without a context.
        x: ``[batch, …event]``, the batch that the layer receives.

    Yields:
        `ResidualBlock` and ``[batch, …event of the block]``.

    Raises:
        ValueError: for a layer that takes a context.
    """
    layer._condition(None, x)  # raises for a layer that takes a context
    if isinstance(layer, ResidualBlock):
        yield layer, x
    elif isinstance(layer, FactorOut):
        yield from block_inputs(layer.rest, x[..., layer.channels :])
    else:
        for part in layer.parts:
            yield from block_inputs(part, x)
            x = part(x)
