"""Composition of layers, whose Lipschitz constants multiply."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers.contractive import as_contractive
from iresnet_tf.layers.exponents import EUCLIDEAN, Exponent
from iresnet_tf.numerics.maps import Composition
from iresnet_tf.numerics.precision import as_float64


class Row:
    """``l_K ∘ … ∘ l_1`` of Keras layers, with ``Lip ≤ Π Lip(l_k)``.

    The norm of each layer's input is that of the output of the layer before it.
    """

    def __init__(self, layers: Sequence[keras.layers.Layer]) -> None:
        self.layers = layers
        self.parts = [as_contractive(layer) for layer in layers]
        self._exponents: list[Exponent] | None = None

    @property
    def is_conditional(self) -> bool:
        """Whether a layer depends on a context."""
        return any(part.is_conditional for part in self.parts)

    @property
    def is_vouched(self) -> bool:
        """Whether the bound of a layer rests on a constant that somebody vouched for."""
        return any(part.is_vouched for part in self.parts)

    @property
    def output_exponent(self) -> Exponent | None:
        """The exponent of the output's norm; ``None`` if all layers have bounds in every norm."""
        exponents = (part.output_exponent for part in reversed(self.parts))
        return next((exponent for exponent in exponents if exponent is not None), None)

    @property
    def event_ndims(self) -> int | None:
        """Rank of a sample, set by the last layer that takes only one rank."""
        ranks = (part.event_ndims for part in reversed(self.parts))
        return next((rank for rank in ranks if rank is not None), None)

    def measure_input(self, exponent: Exponent) -> Exponent:
        """Sets the exponent of each layer's input; returns that of the output."""
        exponents = []
        for part in self.parts:
            exponents.append(exponent)
            exponent = part.measure_input(exponent)
        self._exponents = exponents
        return exponent

    def build(self, input_shape: Any, context_shape: tuple | None = None) -> tuple:
        """Builds the layers in order; returns the shape of the output.

        Args:
            input_shape: ``(batch, …)``.
            context_shape: ``(batch, features)``, for conditional layers.
        """
        if self._exponents is None:
            self.measure_input(self.output_exponent or EUCLIDEAN)
        shape = tuple(input_shape)
        for layer, part in zip(self.layers, self.parts):
            if not layer.built:
                layer.build(shape, *((context_shape,) if part.is_conditional else ()))
            symbolic = keras.KerasTensor(shape, dtype=layer.compute_dtype)
            shape = tuple(layer.compute_output_spec(symbolic).shape)
        return shape

    def set_width(self, channels: int) -> None:
        """Sets the number of output channels, in the last layer with `takes_width`."""
        for layer in [part for part in self.parts if part.takes_width][-1:]:
            layer.set_width(channels)

    def bind(self, context: tf.Tensor | None = None) -> Composition:
        """Returns the composition of the layers' maps with the current weights."""
        self._require_fitting_norms()
        return Composition(
            tuple(part.bind(context) if part.is_conditional else part.bind() for part in self.parts)
        )

    def lipschitz_bound(self) -> float | tf.Tensor:
        """Returns the product of the layers' certified bounds."""
        self._require_fitting_norms()
        product = math.prod(part.lipschitz_bound() for part in self.parts)
        # An unknown constant times that of a zero kernel, ∞ · 0, is unknown.
        if tf.is_tensor(product):
            return tf.where(tf.math.is_nan(product), as_float64(math.inf), product)
        return math.inf if math.isnan(product) else product

    def rounding_growth(self) -> float | tf.Tensor:
        """Returns the product of the layers' growth: see `ContractiveLayer`."""
        return math.prod(part.rounding_growth() for part in self.parts)

    def lipschitz_target(self) -> float:
        """Returns the product of the layers' targets."""
        return math.prod(part.lipschitz_target() for part in self.parts)

    def _require_fitting_norms(self):
        """Raises `ValueError` if another row has set another norm for the input of a layer."""
        for part, exponent in zip(self.parts, self._exponents or ()):
            measured = part.input_exponent
            if measured not in (None, exponent):
                raise ValueError(
                    f"{part.name} is shared by contractions that measure its input in norms of "
                    f"different exponents, {exponent} and {measured}, and it can be held in only "
                    "one of them. Give each contraction a separate layer, or all layers p=2."
                )


def deserialized(configs: Sequence[dict[str, Any]]) -> list[keras.layers.Layer]:
    """Returns the layers of a row without building them: the row sets their norms first."""
    return [
        keras.saving.deserialize_keras_object({**config, "build_config": None})
        for config in configs
    ]
