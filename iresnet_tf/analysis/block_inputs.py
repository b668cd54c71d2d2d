"""What the residual blocks of a flow receive."""

from iresnet_tf.layers import FactorOut, ResidualBlock


def block_inputs(layer, x):
    """Every residual block of an invertible layer in order, with the batch that reaches it.

    Args:
        layer: a built invertible layer.
        x: ``[batch, …event]``, what the layer receives.

    Yields:
        `ResidualBlock` and ``[batch, …event of the block]``.
    """
    layer._condition(None, x)  # refuses a conditional layer, which says what it lacks
    if isinstance(layer, ResidualBlock):
        yield layer, x
    elif isinstance(layer, FactorOut):
        yield from block_inputs(layer.rest, x[..., layer.channels :])
    else:
        for part in layer.parts:
            yield from block_inputs(part, x)
            x = part(x)
