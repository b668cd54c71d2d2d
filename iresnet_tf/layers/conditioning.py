"""The network that computes the features of a context."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers.row import Row


class Conditioning:
    """Features ``[batch, features]`` of contexts ``[batch, …shape]``.

    Args:
        shape: shape of one context; a number means a vector of that length.
        network: any Keras layer or model that returns the features; by default the context, a
            vector, is used as it is.  Several layers may share one.
    """

    def __init__(self, shape: int | Sequence[int], network: keras.layers.Layer | None) -> None:
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.network = network

    def build(self, name: str) -> tuple:
        """Builds the network; returns the shape ``(batch, features)``.

        Raises:
            ValueError: if the network returns anything else than vectors; ``name`` is that of the
                layer that takes the features.
        """
        shape: tuple = (None, *self.shape)
        if self.network is not None:
            shape = Row([self.network]).build(shape)
        if len(shape) != 2 or shape[1] is None:
            raise ValueError(
                f"{name} takes the context as a vector of features, [batch, features]; contexts of "
                f"shape {self.shape} give {shape}. Give a conditioner that returns such vectors."
            )
        return shape

    def __call__(self, context: tf.Tensor) -> tf.Tensor:
        return context if self.network is None else self.network(context)

    def get_config(self) -> dict[str, Any]:
        """Returns the options ``context_shape`` and ``conditioner`` of a layer."""
        network = self.network
        if network is not None:
            network = keras.saving.serialize_keras_object(network)
            # Keras marks shared objects so: other layers may have this conditioner too.
            network["shared_object_id"] = id(self.network)
        return {"context_shape": self.shape, "conditioner": network}


def with_conditioner(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of a layer with its conditioner in place of the configuration of it."""
    network = keras.saving.deserialize_keras_object(config.get("conditioner"))
    return {**config, "conditioner": network}
