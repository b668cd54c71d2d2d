"""Learned concatenation, the building stone of invertible DenseNets."""

import math

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.binding import bind_row, build_row, is_conditional
from iresnet_tf.numerics.maps.concatenation import Concatenation


@keras.saving.register_keras_serializable("iresnet_tf")
class DenseConcatenation(keras.layers.Layer):
    """``x ↦ [η₁ x, η₂ f(x)]`` on the channels, ``η₁² + η₂² = 1``, both positive and learned.

    ``Lip ≤ √(η₁² + η₂² Lip(f)²) ≤ 1`` where ``Lip(f) ≤ 1``.  The weights are the softplus
    of two numbers, divided by their length; they start equal.

    Args:
        layers: layers that make up ``f``, in order, as a spectral layer and its activation.

    Shapes: ``[batch, …, c] → [batch, …, c + channels of f]``.

    Raises:
        ValueError: if there is no layer, or ``f`` changes another axis than the channels.

    Source: Perugachi-Diaz et al. 2021 (arXiv:2102.02694), §3.
    """

    def __init__(self, layers, **kwargs):
        if not layers:
            raise ValueError("A dense concatenation needs at least one layer; received none.")
        kwargs.setdefault("dtype", layers[0].dtype_policy.name)
        super().__init__(**kwargs)
        self.parts = list(layers)

    def build(self, input_shape):
        shape = build_row(self.parts, input_shape)
        if shape[:-1] != tuple(input_shape)[:-1]:
            raise ValueError(
                f"{self.name} joins its input and f's output on the channels (the last axis), so "
                f"f keeps all other axes; it maps {tuple(input_shape)} to {shape}."
            )
        self.weight = self.add_weight(name="weight", shape=(2,), initializer="zeros")

    @property
    def is_conditional(self):
        """Whether ``f`` depends on a context."""
        return any(map(is_conditional, self.parts))

    def bind(self, context=None):
        """The map with the weights as they are now."""
        first, second = self._weights()
        return Concatenation(bind_row(self.parts, context), first, second)

    def call(self, x, context=None):
        return self.bind(context)(x)

    def lipschitz_bound(self):
        """``√(η₁² + η₂² L²)`` with the certified ``L`` of ``f``."""
        inner = math.prod(part.lipschitz_bound() for part in self.parts)
        first, second = (tf.cast(each, tf.float64) for each in self._weights())
        # A few roundings of the weights' dtype, so that the bound stays one.
        margin = 1.0 + 8.0 * float(np.finfo(self.compute_dtype).eps)
        bound = margin * tf.sqrt(tf.square(first) + tf.square(second * inner))
        return float(bound) if tf.executing_eagerly() else bound

    def lipschitz_target(self):
        """1, or what ``f`` is held to where that is more."""
        return max(1.0, math.prod(part.lipschitz_target() for part in self.parts))

    def _weights(self):
        positive = tf.math.softplus(tf.convert_to_tensor(self.weight))
        return tf.unstack(positive / tf.norm(positive))

    def compute_output_shape(self, input_shape):
        shape = tuple(input_shape)
        for part in self.parts:
            shape = tuple(part.compute_output_shape(shape))
        return (*input_shape[:-1], input_shape[-1] + shape[-1])

    def get_config(self):
        layers = [keras.saving.serialize_keras_object(part) for part in self.parts]
        return {**super().get_config(), "layers": layers}

    @classmethod
    def from_config(cls, config):
        layers = [keras.saving.deserialize_keras_object(each) for each in config["layers"]]
        return cls(**{**config, "layers": layers})
