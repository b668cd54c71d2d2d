"""The flattening of images to vectors."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from iresnet_tf.layers.invertible import ClosedForm, Invertible
from iresnet_tf.numerics.axes import batch_shape


class ToVector(Invertible):
    """Base of the layers whose latent is one vector."""

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], tf.TensorShape(input_shape[1:]).num_elements())

    def compute_input_shape(self, output_shape: Sequence) -> tuple:
        raise ValueError(
            f"{self.name} is not built, and a flat vector of shape {tuple(output_shape)} does not "
            "tell the shape of the data. Call the layer on data first."
        )


@keras.saving.register_keras_serializable("iresnet_tf")
class Flatten(ClosedForm, ToVector):
    """``[batch, …event] → [batch, D]``, the last axis fastest; ``log_det = 0``.

    If it ends a stack, a classifier's head still receives samples of the shape ``event``.
    """

    def _forward_and_log_det(self, x, *, seed, context):
        flat = tf.reshape(x, [-1, *self.latent_shape])
        return flat, tf.zeros(batch_shape(x), x.dtype)

    def _closed_form(self, y, *, context):
        return (self._last_latent(y),)

    def _last_latent(self, y):
        return tf.reshape(y, [-1, *self.event_shape])

    def _last_latent_shape(self):
        return self.event_shape

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return 1.0
