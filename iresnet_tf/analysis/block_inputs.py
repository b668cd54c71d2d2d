"""Runs a batch through a flow and yields the input of each residual block."""

from collections.abc import Iterator

import tensorflow as tf

from iresnet_tf.layers import Invertible, ResidualBlock


def block_inputs(layer: Invertible, x: tf.Tensor) -> Iterator[tuple[ResidualBlock, tf.Tensor]]:
    """Yields every residual block of a built layer in order, with the batch that it receives.

    Args:
        layer: a built invertible layer.
        x: ``[batch, …event]``, the input of the layer.

    Raises:
        ValueError: for a conditional layer, because there is no context.
    """
    layer._condition(None, x)
    if isinstance(layer, ResidualBlock):
        yield layer, x
    for part, inputs in layer._part_inputs(x):
        yield from block_inputs(part, inputs)
