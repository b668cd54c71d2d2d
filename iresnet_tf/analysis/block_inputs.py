"""Runs a batch through a flow and yields the input of each residual block."""

from collections.abc import Iterator

import tensorflow as tf

from iresnet_tf.layers import Invertible, ResidualBlock


def block_inputs(
    layer: Invertible, x: tf.Tensor, context: tf.Tensor | None = None
) -> Iterator[tuple[ResidualBlock, tf.Tensor]]:
    """Yields every residual block of a built layer in order, with the batch that it receives.

    Args:
        layer: a built invertible layer.
        x: ``[batch, …event]``, the input of the layer.
        context: ``[batch, …context_shape]``, for a conditional layer.

    Raises:
        ValueError: for a conditional layer without a context, or a context for another one.
    """
    context = layer._condition(context, x)
    if isinstance(layer, ResidualBlock):
        yield layer, x
    for part, inputs in layer._part_inputs(x, context):
        yield from block_inputs(part, inputs, context if part.is_conditional else None)
