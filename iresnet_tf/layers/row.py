"""Layers in a row, whose Lipschitz constants multiply."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers.contractive import as_contractive
from iresnet_tf.layers.exponents import EUCLIDEAN, Exponent
from iresnet_tf.numerics.maps import Composition


class Row:
    """``l_K ∘ … ∘ l_1`` with ``Lip ≤ Π Lip(l_k)``, in norms that fit each other.

    Each layer measures its input in the norm in which the layer before it measures its output.

    Args:
        layers: Keras layers, applied in order.
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
    def output_exponent(self) -> Exponent | None:
        """The exponent of the output's norm, or ``None`` if every layer keeps every norm."""
        own = [part.output_exponent for part in self.parts if part.output_exponent is not None]
        return own[-1] if own else None

    @property
    def event_ndims(self) -> int | None:
        """Rank of a sample, as the last layer that is for one rank says."""
        known = [part.event_ndims for part in self.parts if part.event_ndims is not None]
        return known[-1] if known else None

    def measure_input(self, exponent: Exponent) -> Exponent:
        """Hands each layer the exponent of its input's norm; returns that of the output's."""
        exponents = []
        for part in self.parts:
            exponents.append(exponent)
            exponent = part.measure_input(exponent)
        self._exponents = exponents
        return exponent

    def build(self, input_shape: Any, context_shape: tuple | None = None) -> tuple:
        """Builds each layer for the output of the one before it; returns the last one's shape.

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
        """Gives the last layer that takes a width the number of output channels."""
        for layer in [part for part in self.parts if part.takes_width][-1:]:
            layer.set_width(channels)

    def bind(self, context: tf.Tensor | None = None) -> Composition:
        """Returns the composition of the layers' maps, with the weights as they are now."""
        self._require_fitting_norms()
        return Composition(
            tuple(part.bind(context) if part.is_conditional else part.bind() for part in self.parts)
        )

    def lipschitz_bound(self) -> float | tf.Tensor:
        """Returns the product of the layers' certified bounds: see `ContractiveLayer`."""
        self._require_fitting_norms()
        product: float | tf.Tensor = 1.0
        for part in self.parts:
            product = product * part.lipschitz_bound()
        return product

    def rounding_growth(self) -> float | tf.Tensor:
        """Returns the product of the layers' growth: see `ContractiveLayer`."""
        product: float | tf.Tensor = 1.0
        for part in self.parts:
            product = product * part.rounding_growth()
        return product

    def lipschitz_target(self) -> float:
        """Returns the product of the layers' targets: see `ContractiveLayer`."""
        product = 1.0
        for part in self.parts:
            product = product * part.lipschitz_target()
        return product

    def _require_fitting_norms(self):
        """Refuses layers whose input another row has measured in another norm since."""
        for part, exponent in zip(self.parts, self._exponents or ()):
            measured = getattr(part, "input_exponent", exponent)
            if measured != exponent:
                raise ValueError(
                    f"{part.name} is shared by contractions that measure its input in norms of "
                    f"different exponents, {exponent} and {measured}, and it can be held in one "
                    "of them alone. Give each contraction a layer of its own, or all layers p=2."
                )


def serialized(layers: Sequence[keras.layers.Layer]) -> list[dict[str, Any]]:
    """Returns the configurations of a row's layers."""
    return [keras.saving.serialize_keras_object(layer) for layer in layers]


def deserialized(configs: Sequence[dict[str, Any]]) -> list[keras.layers.Layer]:
    """Returns the layers of a row, not built: the row builds them after it sets their norms."""
    unbuilt = [
        {name: value for name, value in config.items() if name != "build_config"}
        for config in configs
    ]
    return [keras.saving.deserialize_keras_object(config) for config in unbuilt]
