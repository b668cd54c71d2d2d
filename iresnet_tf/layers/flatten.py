"""From images to vectors."""

import keras
import tensorflow as tf

from iresnet_tf.layers.invertible import ClosedForm, Invertible


class ToVector(Invertible):
    """Base of the layers whose latent is a vector of all elements: the shapes."""

    def output_event_shape(self):
        return (tf.TensorShape(self.event_shape).num_elements(),)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], tf.TensorShape(input_shape[1:]).num_elements())

    def compute_input_shape(self, output_shape):
        raise ValueError(
            f"{self.name} is not built, and a flat vector of shape {tuple(output_shape)} does not "
            "tell the shape of the data. Call the layer on data first."
        )


@keras.saving.register_keras_serializable("iresnet_tf")
class Flatten(ClosedForm, ToVector):
    """``[batch, …event] → [batch, D]``, the last axis fastest; ``log_det = 0``.

    At the end of a stack, a head still sees the event in its shape: see `last_latent`.
    """

    def call(self, x):
        return tf.reshape(x, [-1, *self.output_event_shape()])

    def transform(self, x, seed):
        del seed
        return self.call(x), tf.zeros(tf.shape(x)[:1], x.dtype)

    def closed_form(self, y):
        return (tf.reshape(y, [-1, *self.event_shape]),)

    def last_latent(self, y):
        return tf.reshape(y, [-1, *self.event_shape])

    def last_latent_shape(self):
        return self.event_shape

    def inverse_lipschitz_bound(self):
        """1."""
        return 1.0
