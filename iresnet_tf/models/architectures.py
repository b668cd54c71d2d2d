"""Stacks of invertible layers."""

from iresnet_tf.layers import ActNorm, Contraction, ResidualBlock, Squeeze


def vector_flow(blocks, width, depth, activation="lipswish", coeff=0.9, log_det=None, solver=None):
    """``blocks`` × (ActNorm, residual MLP block), and a last ActNorm, on ``[batch, D]``.

    Args:
        blocks: number of residual blocks.
        width: units of each hidden layer.
        depth: number of hidden layers of a block.
        activation, coeff: of each block's `Contraction.mlp`.
        log_det, solver: of each `ResidualBlock`.

    Returns:
        list of layers, data side first.
    """
    layers = []
    for _ in range(blocks):
        g = Contraction.mlp((width,) * depth, activation=activation, coeff=coeff)
        layers += [ActNorm(), ResidualBlock(g, log_det=log_det, solver=solver)]
    return [*layers, ActNorm()]


def image_flow(blocks, width, activation="lipswish", coeff=0.9, log_det=None, solver=None):
    """Scales of (squeeze, blocks × (ActNorm, residual 3×3–1×1–3×3 block)) on images.

    Args:
        blocks: number of residual blocks of each scale; each scale after a squeeze.
        width: hidden channels.
        activation, coeff: of each block's `Contraction.conv`.
        log_det, solver: of each `ResidualBlock`.

    Returns:
        list of layers, data side first.
    """
    layers = []
    for count in blocks:
        layers.append(Squeeze())
        for _ in range(count):
            g = Contraction.conv(width, (3, 1, 3), activation=activation, coeff=coeff)
            layers += [ActNorm(), ResidualBlock(g, log_det=log_det, solver=solver)]
    return [*layers, ActNorm()]
