"""The layers of the usual residual branches: dense, convolutional, densely connected."""

from collections.abc import Sequence
from typing import Any

import keras

from iresnet_tf.layers import activations
from iresnet_tf.layers.context_bias import ContextBias
from iresnet_tf.layers.contractive import ContractiveLayer
from iresnet_tf.layers.dense_concatenation import DenseConcatenation
from iresnet_tf.layers.spectral_conv2d import SpectralConv2D
from iresnet_tf.layers.spectral_dense import SpectralDense

Activation = str | ContractiveLayer


def dense_layers(
    units: int | Sequence[int],
    activation: Activation,
    *,
    preactivation: bool,
    p: float | str | Sequence,
    conditional: bool,
    options: dict[str, Any],
    dtype: Any,
) -> list[keras.layers.Layer]:
    """Returns dense layers of those widths and a last one: see `Contraction.mlp`."""
    widths = (*((units,) if isinstance(units, int) else units), None)
    linear = [
        SpectralDense(width, p=exponent, dtype=dtype, **options)
        for width, exponent in zip(widths, _exponents(p, len(widths)))
    ]
    return _interleaved(linear, activation, preactivation, conditional, dtype)


def convolutions(
    filters: int | Sequence[int],
    kernel_sizes: Sequence[int | tuple[int, int]],
    activation: Activation,
    *,
    preactivation: bool,
    p: float | str | Sequence,
    conditional: bool,
    options: dict[str, Any],
    dtype: Any,
) -> list[keras.layers.Layer]:
    """Returns convolutions of those kernel sizes: see `Contraction.conv`."""
    hidden = len(kernel_sizes) - 1
    widths = (filters,) * hidden if isinstance(filters, int) else tuple(filters)
    if len(widths) != hidden:
        raise ValueError(
            f"filters is one number or one for each of the {hidden} hidden convolutions; received "
            f"{filters!r}."
        )
    linear = [
        SpectralConv2D(width, size, p=exponent, dtype=dtype, **options)
        for width, size, exponent in zip(
            (*widths, None), kernel_sizes, _exponents(p, len(kernel_sizes))
        )
    ]
    return _interleaved(linear, activation, preactivation, conditional, dtype)


def concatenations(
    growth: int,
    depth: int,
    kernel_size: int | None,
    activation: Activation,
    *,
    conditional: bool,
    options: dict[str, Any],
    dtype: Any,
) -> list[keras.layers.Layer]:
    """Returns dense concatenations and a last linear layer: see `Contraction.dense_net`."""

    def linear(width, size):
        if kernel_size is None:
            layer = SpectralDense(width, dtype=dtype, **options)
        else:
            layer = SpectralConv2D(width, size, dtype=dtype, **options)
        return _with_context(layer, conditional, dtype)

    joined = [
        DenseConcatenation([*linear(growth, kernel_size), activations.get(activation, dtype=dtype)])
        for _ in range(depth)
    ]
    return [*joined, *linear(None, 1)]


def _exponents(p, count):
    if isinstance(p, (str, int, float)):
        return (p,) * count
    if len(p) != count:
        raise ValueError(f"p is one exponent or one for each of {count} layers; received {p!r}.")
    return tuple(p)


def _interleaved(linear, activation, preactivation, conditional, dtype):
    """Puts an activation before each linear layer; before the first one only if asked."""
    layers = []
    for index, layer in enumerate(linear):
        if index or preactivation:
            layers.append(activations.get(activation, dtype=dtype))
        layers += _with_context(layer, conditional, dtype)
    return layers


def _with_context(linear, conditional, dtype):
    """Puts a `ContextBias` after a linear layer of a conditional contraction."""
    return [linear, ContextBias(dtype=dtype)] if conditional else [linear]
