"""The latent distribution of a flow."""

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


@keras.saving.register_keras_serializable("iresnet_tf")
class DiagonalNormal(keras.layers.Layer):
    """``p_Z(z) = Π N(z_i; μ_i, exp(2 s_i))``, with ``μ`` and ``s`` learned, or 0.

    Args:
        kind: ``"learned"`` or ``"fixed"`` (standard normal).

    Raises:
        ValueError: for another kind.
    """

    KINDS = ("learned", "fixed")

    def __init__(self, kind="learned", **kwargs):
        super().__init__(**kwargs)
        if kind not in self.KINDS:
            raise ValueError(f"prior is one of {self.KINDS}; received {kind!r}.")
        self.kind = kind

    def build(self, input_shape):
        shape, learned = tuple(input_shape[1:]), self.kind == "learned"
        self.mean = self.add_weight(
            name="mean", shape=shape, initializer="zeros", trainable=learned
        )
        self.log_scale = self.add_weight(
            name="log_scale", shape=shape, initializer="zeros", trainable=learned
        )

    def log_prob(self, z):
        """``[batch, …event] → [batch]``, nats."""
        z = tf.convert_to_tensor(z, self.compute_dtype)
        log_scale = tf.convert_to_tensor(self.log_scale)
        deviation = (z - tf.convert_to_tensor(self.mean)) * tf.exp(-log_scale)
        log_density = -0.5 * tf.square(deviation) - log_scale - 0.5 * math.log(2.0 * math.pi)
        return tf.reduce_sum(log_density, axis=list(range(1, z.shape.rank)))

    def sample(self, count, temperature, seed):
        """``[count, …event]`` with the scale times ``temperature``."""
        shape = (count, *self.mean.shape)
        noise = tf.random.stateless_normal(shape, seed, dtype=self.compute_dtype)
        scale = temperature * tf.exp(tf.convert_to_tensor(self.log_scale))
        return tf.convert_to_tensor(self.mean) + scale * noise

    def distribution(self):
        """The same as a TFP distribution that follows the weights."""
        scale = tfp.util.DeferredTensor(self.log_scale.value, tf.exp)
        normal = tfd.Normal(self.mean.value, scale)
        return tfd.Independent(normal, len(self.mean.shape), name="prior")

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}
