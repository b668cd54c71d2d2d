"""Learned concatenations, the building blocks of invertible DenseNets."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.layers.contractive import ContractiveLayer
from iresnet_tf.layers.exponents import EUCLIDEAN, Exponent
from iresnet_tf.layers.row import Row, deserialized
from iresnet_tf.numerics.maps import Composition, Concatenation, Map, Scaling


@keras.saving.register_keras_serializable("iresnet_tf")
class DenseConcatenation(ContractiveLayer):
    """``x ↦ [η₁ x, η₂ f(x)]`` on the channels, with learned ``η₁, η₂ > 0``, ``η₁² + η₂² = 1``.

    ``Lip ≤ √(η₁² + η₂² Lip(f)²)``, at most 1 if ``Lip(f) ≤ 1``.  ``(η₁, η₂)`` is the normalised
    softplus of two trainable numbers, which are equal at first.

    Args:
        layers: the layers of ``f``, in order, for example a spectral layer and its activation.

    Shapes: ``[batch, …, c] → [batch, …, c + channels of f]``.

    Raises:
        ValueError: if there is no layer; when it is built, if ``f`` changes an axis other than
            the channels, or contracts in a norm other than the 2-norm.

    Source: Perugachi-Diaz et al. 2021 (arXiv:2102.02694), §3.
    """

    def __init__(self, layers: Sequence[keras.layers.Layer], **kwargs) -> None:
        if not layers:
            raise ValueError("A dense concatenation needs at least one layer; received none.")
        kwargs.setdefault("dtype", layers[0].dtype_policy.name)
        super().__init__(**kwargs)
        self.parts = list(layers)
        self._row = Row(self.parts)

    @property
    def is_conditional(self) -> bool:
        """Whether ``f`` depends on a context."""
        return self._row.is_conditional

    @property
    def is_vouched(self) -> bool:
        """Whether the bound of a layer of ``f`` rests on a constant that was vouched for."""
        return self._row.is_vouched

    def measure_input(self, exponent: Exponent) -> Exponent:
        inner = self._row.measure_input(super().measure_input(exponent))
        if inner != EUCLIDEAN:
            raise ValueError(
                f"{self.name} joins its input and f's output, which is known to contract in the "
                f"2-norm alone; the norm of f's output has the exponent {inner}. Give the linear "
                "layers of f p=2."
            )
        return EUCLIDEAN

    def build(self, x_shape: tuple, context_shape: tuple | None = None) -> None:
        self.measure_input(EUCLIDEAN)
        shape = self._row.build(x_shape, context_shape)
        if shape[:-1] != tuple(x_shape)[:-1]:
            raise ValueError(
                f"{self.name} joins its input and f's output on the channels (the last axis), so "
                f"f keeps all other axes; it maps {tuple(x_shape)} to {shape}."
            )
        self.weight = self.add_weight(name="weight", shape=(2,), initializer="zeros")

    def bind(self, context: tf.Tensor | None = None) -> Map:
        first, second = map(Scaling, self._weights())
        return Concatenation((first, Composition((self._row.bind(context), second))))

    def lipschitz_bound(self) -> float | tf.Tensor:
        """Returns ``√(η₁² + η₂² L²)`` with the certified ``L`` of ``f``."""
        inner = self._row.lipschitz_bound()
        first, second = (tf.cast(weight, tf.float64) for weight in self._weights())
        # The margin exceeds the rounding of the weights.
        margin = 1.0 + 8.0 * float(np.finfo(self.compute_dtype).eps)
        bound = margin * tf.sqrt(tf.square(first) + tf.square(second * inner))
        return float(bound) if tf.executing_eagerly() else bound

    def rounding_growth(self) -> float | tf.Tensor:
        # Errors of the layers of f, and of the input, at weights of at most 1.
        return 1.5 * self._row.rounding_growth()

    def lipschitz_target(self) -> float:
        return max(1.0, self._row.lipschitz_target())

    def _weights(self):
        positive = tf.math.softplus(tf.convert_to_tensor(self.weight))
        return tf.unstack(positive / tf.norm(positive))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        shape = tuple(input_shape)
        for part in self.parts:
            shape = tuple(part.compute_output_shape(shape))
        return (*input_shape[:-1], input_shape[-1] + shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layers": keras.saving.serialize_keras_object(self.parts)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "layers": deserialized(config["layers"])})
