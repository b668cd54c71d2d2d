"""The latent distributions of a flow."""

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.numerics import random

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
    takes_labels = False

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
        mean, log_scale = tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.log_scale)
        return _log_normal(z, mean, log_scale)

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

    def summaries(self):
        """Returns tensors whose histograms are worth watching in training, by name."""
        return {"scale": tf.exp(self.log_scale.value)}

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable("iresnet_tf")
class ConditionalNormal(keras.layers.Layer):
    """``p_Z(z | y) = Π N(z_i; μ_{y,i}, exp(2 s_{y,i}))``, learned.

    ``p_Z(z) = Σ_y p_Z(z | y) / K``.

    Args:
        classes: ``K``.
    """

    kind = "conditional"
    takes_labels = True

    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        self.classes = int(classes)

    def build(self, input_shape):
        shape = (self.classes, *input_shape[1:])
        # Apart, so that the classes can part.
        self.mean = self.add_weight(
            name="mean", shape=shape, initializer=keras.initializers.RandomNormal(stddev=0.05)
        )
        self.log_scale = self.add_weight(name="log_scale", shape=shape, initializer="zeros")

    def log_prob(self, z, y=None):
        """``log p_Z(z | y)``, or ``log p_Z(z)`` without ``y``: ``[batch]``, nats.

        Args:
            z: ``[batch, …event]``.
            y: integer classes ``[batch]``.
        """
        z = tf.convert_to_tensor(z, self.compute_dtype)
        mean, log_scale = tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.log_scale)
        if y is not None:
            y = tf.cast(tf.reshape(y, [-1]), tf.int32)
            return _log_normal(z, tf.gather(mean, y), tf.gather(log_scale, y))
        each = [_log_normal(z, mean[k], log_scale[k]) for k in range(self.classes)]
        return tf.reduce_logsumexp(tf.stack(each), 0) - math.log(self.classes)

    def sample(self, count, temperature, seed, labels=None):
        """``[count, …event]`` with the scales times ``temperature``; classes drawn or given."""
        class_seed, noise_seed = random.fold_in(seed, 0), random.fold_in(seed, 1)
        if labels is None:
            labels = tf.random.stateless_uniform([count], class_seed, 0, self.classes, tf.int32)
        mean = tf.gather(tf.convert_to_tensor(self.mean), labels)
        scale = temperature * tf.exp(tf.gather(tf.convert_to_tensor(self.log_scale), labels))
        noise = tf.random.stateless_normal(tf.shape(mean), noise_seed, dtype=self.compute_dtype)
        return mean + scale * noise

    def distribution(self):
        """``p_Z(z)`` as a TFP distribution that follows the weights."""
        scale = tfp.util.DeferredTensor(self.log_scale.value, tf.exp)
        normal = tfd.Independent(tfd.Normal(self.mean.value, scale), len(self.mean.shape) - 1)
        even = tfd.Categorical(logits=tf.zeros([self.classes], self.compute_dtype))
        return tfd.MixtureSameFamily(even, normal, name="prior")

    def summaries(self):
        """Returns tensors whose histograms are worth watching in training, by name."""
        return {"scale": tf.exp(self.log_scale.value)}

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}


def _log_normal(z, mean, log_scale):
    """``Σ log N(z_i; μ_i, exp(2 s_i))`` over the event: ``[batch]``."""
    deviation = (z - mean) * tf.exp(-log_scale)
    log_density = -0.5 * tf.square(deviation) - log_scale - 0.5 * math.log(2.0 * math.pi)
    return tf.reduce_sum(log_density, axis=list(range(1, z.shape.rank)))
