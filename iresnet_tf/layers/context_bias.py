"""Where a context enters a contraction."""

import keras
import tensorflow as tf

from iresnet_tf.layers.spectral import input_channels, serialised
from iresnet_tf.numerics.maps.linearization import Shift


@keras.saving.register_keras_serializable("iresnet_tf")
class ContextBias(keras.layers.Layer):
    """``x ↦ x + W c``: a bias that depends on the context ``c`` and on nothing else.

    Its Jacobian in ``x`` is the identity whatever ``W`` is, so a `Contraction` that holds it
    keeps its Lipschitz constant in ``x`` for every context, with ``W`` and the network that
    makes ``c`` unconstrained.

    Args:
        features: length of ``c``; ``None`` only inside a `Contraction`, which then sets it.
        kernel_initializer: of ``W``, as in `keras.layers.Dense`.

    Shapes: ``x [batch, …, channels]`` and ``c [batch, features]`` (or ``[1, features]``) give
    ``[batch, …, channels]``.
    """

    is_conditional = True
    """Whether the map depends on a context."""

    contracts_every_norm = True
    """Whether ``‖J‖_p ≤ 1`` for every ``p``."""

    def __init__(self, features=None, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.features = features
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        if self.features is None:
            raise ValueError(
                f"{self.name} does not know the length of the context: give it features, or put "
                "it into a Contraction([…], context_shape=…), which tells it."
            )
        channels = input_channels(input_shape, self.name)
        self.input_rank = len(input_shape)
        self.kernel = self.add_weight(
            name="kernel", shape=(self.features, channels), initializer=self.kernel_initializer
        )

    def bind(self, context):
        """The shift for a batch of contexts, with the weights as they are now."""
        kernel = tf.convert_to_tensor(self.kernel)
        offset = tf.matmul(tf.cast(context, kernel.dtype), kernel)
        return Shift(tf.reshape(offset, [-1, *[1] * (self.input_rank - 2), kernel.shape[1]]))

    def call(self, x, context=None):
        return self.bind(context)(x)

    def lipschitz_bound(self):
        """1, in ``x``."""
        return 1.0

    def lipschitz_target(self):
        """1, in ``x``."""
        return 1.0

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "features": self.features,
            "kernel_initializer": serialised(self.kernel_initializer),
        }
