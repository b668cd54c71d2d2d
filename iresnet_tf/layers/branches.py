"""The layers of the usual residual branches: dense, convolutional, densely connected."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from iresnet_tf.layers import activations
from iresnet_tf.layers.context_bias import ContextBias
from iresnet_tf.layers.contractive import ContractiveLayer
from iresnet_tf.layers.dense_concatenation import DenseConcatenation
from iresnet_tf.layers.spectral import SpectralLayer
from iresnet_tf.layers.spectral_conv2d import SpectralConv2D
from iresnet_tf.layers.spectral_dense import SpectralDense

Activation = str | ContractiveLayer


@dataclasses.dataclass(frozen=True)
class Branch:
    """The options that the layers of a branch share.

    Attributes:
        activation: name or layer of the activations.
        conditional: whether a `ContextBias` follows each linear layer.
        dtype: of all layers.
        options: of the linear layers.
    """

    activation: Activation
    conditional: bool
    dtype: Any
    options: dict[str, Any]

    def dense(
        self, units: int | Sequence[int], preactivation: bool, p: float | str | Sequence
    ) -> list[keras.layers.Layer]:
        """Returns dense layers of the widths ``units`` and a last one: see `Contraction.mlp`."""
        widths = (*((units,) if isinstance(units, int) else units), None)
        exponents = _exponents(p, len(widths))
        linear = [SpectralDense(width, p=p, **self._linear) for width, p in zip(widths, exponents)]
        return self._interleaved(linear, preactivation)

    def convolutions(
        self,
        filters: int | Sequence[int],
        kernel_sizes: Sequence[int | tuple[int, int]],
        preactivation: bool,
        p: float | str | Sequence,
    ) -> list[keras.layers.Layer]:
        """Returns convolutions of the given kernel sizes: see `Contraction.conv`."""
        hidden = len(kernel_sizes) - 1
        widths = (filters,) * hidden if isinstance(filters, int) else tuple(filters)
        if len(widths) != hidden:
            raise ValueError(
                f"filters is one number or one for each of the {hidden} hidden convolutions; "
                f"received {filters!r}."
            )
        arguments = zip((*widths, None), kernel_sizes, _exponents(p, len(kernel_sizes)))
        linear = [SpectralConv2D(width, size, p=p, **self._linear) for width, size, p in arguments]
        return self._interleaved(linear, preactivation)

    def concatenations(
        self, growth: int, depth: int, kernel_size: int | None
    ) -> list[keras.layers.Layer]:
        """Returns dense concatenations and a last linear layer: see `Contraction.dense_net`."""

        def linear(width, size):
            if kernel_size is None:
                return self._with_context(SpectralDense(width, **self._linear))
            return self._with_context(SpectralConv2D(width, size, **self._linear))

        joined = [
            DenseConcatenation([*linear(growth, kernel_size), self._activation()])
            for _ in range(depth)
        ]
        return [*joined, *linear(None, 1)]

    @property
    def _linear(self):
        return {"dtype": self.dtype, **self.options}

    def _activation(self):
        return activations.get(self.activation, dtype=self.dtype)

    def _with_context(self, layer: SpectralLayer) -> list[keras.layers.Layer]:
        return [layer, ContextBias(dtype=self.dtype)] if self.conditional else [layer]

    def _interleaved(self, linear, preactivation):
        """Puts an activation before each linear layer; before the first one only if asked."""
        layers = []
        for index, layer in enumerate(linear):
            layers += [self._activation()] if index or preactivation else []
            layers += self._with_context(layer)
        return layers


def _exponents(p, count):
    if isinstance(p, (str, int, float)):
        return (p,) * count
    if len(p) != count:
        raise ValueError(f"p is one exponent or one for each of {count} layers; received {p!r}.")
    return tuple(p)
