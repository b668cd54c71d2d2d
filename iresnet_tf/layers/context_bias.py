"""The layer that adds a context to a contraction."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.contractive import ContractiveLayer
from iresnet_tf.layers.spectral import input_channels, serialised
from iresnet_tf.numerics.axes import event_norm
from iresnet_tf.numerics.maps import Map, Shift


@keras.saving.register_keras_serializable("iresnet_tf")
class ContextBias(ContractiveLayer):
    """``x ↦ x + W c``, a bias that depends on the context ``c`` alone.

    Its Jacobian in ``x`` is the identity.  So the Lipschitz constant in ``x`` of a `Contraction`
    does not depend on the context, and ``W`` and the network that computes ``c`` need no
    constraint.

    Args:
        features: length of ``c``; ``None`` inside a `Contraction`, which sets it.
        kernel_initializer: of ``W``: see `keras.layers.Dense`.

    Shapes: ``x [batch, …, channels]`` and ``c [batch, features]`` (or ``[1, features]``) give
    ``[batch, …, channels]``.

    Raises:
        ValueError: when it is built, if the length of ``c`` or the channels are not known.
    """

    is_conditional = True
    output_exponent = None

    def __init__(
        self, features: int | None = None, kernel_initializer: Any = "glorot_uniform", **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.features = features
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape: tuple, context_shape: tuple | None = None) -> None:
        if self.features is None and context_shape is not None:
            self.features = context_shape[-1]
        if self.features is None:
            raise ValueError(
                f"{self.name} does not know the length of the context: give it features, or put "
                "it into a Contraction([…], context_shape=…), which sets it."
            )
        channels = input_channels(x_shape, self.name)
        self.input_rank = len(x_shape)
        self.kernel = self.add_weight(
            name="kernel", shape=(self.features, channels), initializer=self.kernel_initializer
        )

    def bind(self, context: tf.Tensor | None = None) -> Map:
        kernel = tf.convert_to_tensor(self.kernel)
        context = tf.cast(context, kernel.dtype)
        offset = tf.matmul(context, kernel)
        # Inner products of as many terms as there are features.
        gain = (0.5 * kernel.shape[0] + 4.0) * tf.norm(kernel)
        rounding = np.finfo(kernel.dtype.as_numpy_dtype).eps * gain * event_norm(context)
        shape = [-1, *[1] * (self.input_rank - 2), kernel.shape[1]]
        return Shift(tf.reshape(offset, shape), tf.stop_gradient(rounding))

    def lipschitz_bound(self) -> float | tf.Tensor:
        return 1.0

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "features": self.features,
            "kernel_initializer": serialised(self.kernel_initializer),
        }
