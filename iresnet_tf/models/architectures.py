"""Makes lists of invertible layers for vectors and for images."""

from collections.abc import Sequence
from typing import Any

from iresnet_tf.layers import (
    ActNorm,
    ConditionalActNorm,
    Contraction,
    FactorOut,
    Flatten,
    InjectivePadding,
    Invertible,
    ResidualBlock,
    Squeeze,
    Whiten,
)
from iresnet_tf.numerics.log_det import LogDet
from iresnet_tf.numerics.solvers import Solver


def vector_flow(
    blocks: int,
    width: int,
    depth: int,
    *,
    activation: str = "lipswish",
    coeff: float = 0.9,
    log_det: LogDet | None = None,
    solver: Solver | None = None,
    p: float = 2,
    recompute: bool = False,
    whiten: bool = False,
    conditional_act_norm: bool = False,
    dtype: str | None = None,
    **condition: Any,
) -> list[Invertible]:
    """Returns the layers ``blocks`` × (ActNorm, residual MLP block), ActNorm, for ``[batch, D]``.

    Args:
        blocks: number of residual blocks.
        width: units of each hidden layer.
        depth: number of hidden layers of a block.
        activation, coeff, p: options of each block's `Contraction.mlp`.
        log_det, solver, recompute: options of each `ResidualBlock`.
        whiten: whether a `Whiten` is the first layer.
        conditional_act_norm: whether a `ConditionalActNorm` follows the first ActNorm.
        dtype: that of all layers; by default the one set by `keras.config.set_dtype_policy`.
        **condition: ``context_shape`` and ``conditioner`` of each conditional layer.

    Raises:
        ValueError: for a ``conditional_act_norm`` without a ``context_shape``.
    """
    if conditional_act_norm and "context_shape" not in condition:
        raise ValueError(
            "conditional_act_norm=True needs a context; received no context_shape. Give "
            "context_shape=(features,), or leave conditional_act_norm out."
        )
    layers: list[Invertible] = [Whiten(dtype=dtype)] if whiten else []
    options = condition if dtype is None else {**condition, "dtype": dtype}
    for _ in range(blocks):
        g = Contraction.mlp((width,) * depth, activation=activation, coeff=coeff, p=p, **options)
        block = ResidualBlock(g, log_det=log_det, solver=solver, recompute=recompute)
        layers += [ActNorm(dtype=dtype), block]
    if conditional_act_norm:
        layers.insert(whiten + 1, ConditionalActNorm(**options))
    return [*layers, ActNorm(dtype=dtype)]


def image_flow(
    blocks: Sequence[int],
    width: int | Sequence[int],
    *,
    activation: str = "lipswish",
    coeff: float = 0.9,
    log_det: LogDet | None = None,
    solver: Solver | None = None,
    branch: str = "residual",
    squeeze: bool | Sequence[bool] = True,
    factor_out: bool = False,
    padding: int = 0,
    preactivation: bool = False,
    act_norm: bool = True,
    last_act_norm: bool = True,
    dense_blocks: int = 0,
    dense_width: int = 128,
    power_iterations: int = 1,
    p: float = 2,
    recompute: bool = False,
    whiten: bool = False,
) -> list[Invertible]:
    """Returns the layers of scales of (squeeze, blocks × (ActNorm, residual block)) for images.

    The layers map images to vectors.  Options of one value for each scale also take one value for
    all of them.

    Args:
        blocks: number of residual blocks of each scale.
        width: hidden channels of each scale; for dense nets, the growth.
        activation, coeff, power_iterations, p: options of each block's `Contraction`.
        log_det, solver, recompute: options of each `ResidualBlock`.
        branch: ``"residual"`` (3×3, 1×1, 3×3 convolutions with activations between) or
            ``"dense-net"`` (three concatenations of 3×3 convolutions, then a 1×1 one).
        squeeze: whether each scale begins with a `Squeeze`.
        factor_out: whether half of the channels leave after every scale except the last.
        padding: channels of zeros appended before the first scale (classification only).
        preactivation: whether every residual branch except the first begins with an activation.
        act_norm: whether an ActNorm precedes each block.
        last_act_norm: whether an ActNorm ends the stack.
        dense_blocks: number of residual MLP blocks on the flat latent at the end.
        dense_width: units of their two hidden layers.
        whiten: whether a `Whiten` is the first layer.

    Raises:
        ValueError: if ``width`` or ``squeeze`` does not have one entry for each scale; for
            another branch; for dense nets in a norm other than the 2-norm.

    Sources: Behrmann et al. 2019 (arXiv:1811.00995), appendix C and D; Dinh et al. 2017
    (arXiv:1605.08803), §3.6, for the scales; Chen et al. 2019 (arXiv:1906.02735),
    appendix E, for the dense blocks; Perugachi-Diaz et al. 2021 (arXiv:2102.02694), for the
    dense nets.
    """
    if branch not in ("residual", "dense-net"):
        raise ValueError(f"branch is 'residual' or 'dense-net'; received {branch!r}.")
    if branch == "dense-net" and p != 2:
        raise ValueError(f"Dense nets are known to contract in the 2-norm alone; received p={p!r}.")
    widths = _one_per_scale("width", width, blocks)
    squeezes = _one_per_scale("squeeze", squeeze, blocks)
    options: dict[str, Any] = {"activation": activation, "coeff": coeff}
    options["power_iterations"] = power_iterations
    chain = {**options, "p": p}

    def block(g):
        residual = ResidualBlock(g, log_det=log_det, solver=solver, recompute=recompute)
        return [ActNorm(), residual] if act_norm else [residual]

    scales = []
    for scale, (count, hidden, squeezed) in enumerate(zip(blocks, widths, squeezes)):
        layers: list[Invertible] = [Squeeze()] if squeezed else []
        for index in range(count):
            first = scale == index == 0
            if branch == "residual":
                g = Contraction.conv(
                    hidden, (3, 1, 3), preactivation=preactivation and not first, **chain
                )
            else:
                g = Contraction.dense_net(hidden, depth=3, kernel_size=3, **options)
            layers += block(g)
        scales.append(layers)

    last = scales.pop()
    if dense_blocks:
        last.append(Flatten())
        for _ in range(dense_blocks):
            last += block(Contraction.mlp((dense_width,) * 2, **chain))
    if last_act_norm:
        last.append(ActNorm())
    if not dense_blocks:
        last.append(Flatten())
    for layers in reversed(scales):
        last = [*layers, FactorOut(last)] if factor_out else [*layers, *last]
    if padding:
        last = [InjectivePadding(padding), *last]
    return [Whiten(), *last] if whiten else last


def _one_per_scale(name: str, value: int | Sequence[int], blocks: Sequence[int]) -> tuple[int, ...]:
    """Returns one value for each scale; a single value is repeated."""
    values = (value,) if isinstance(value, (bool, int)) else tuple(value)
    if len(values) == 1:
        return values * len(blocks)
    if len(values) != len(blocks):
        raise ValueError(
            f"{name} is one value or one for each of the {len(blocks)} scales; received {value!r}."
        )
    return values
