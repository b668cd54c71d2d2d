"""Defines the latent distributions of a flow."""

import math
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.numerics import random
from iresnet_tf.numerics.axes import event_axes

tfd = tfp.distributions


class Prior(keras.layers.Layer):
    """``p_Z``: a layer with weights, the distribution to which a flow maps its data.

    To write your own prior, subclass this and

    1. register it with `keras.saving.register_keras_serializable`, and return the arguments of
       ``__init__`` from ``get_config``, because a model is saved with its prior;
    2. add its weights in ``build(input_shape)``; ``input_shape`` is ``(None, …latent)``;
    3. write `sample` and `distribution`, and also `log_prob` if it can be computed in fewer steps
       than the distribution needs.

    A prior with a distribution for each class sets ``takes_labels = True``.  Its `log_prob` and
    `sample` have another keyword, ``labels=None``, for integer classes ``[batch]``; without labels
    they refer to the mixture over the classes.
    """

    takes_labels: bool = False
    """Whether `log_prob` and `sample` take ``labels``."""

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """``log p_Z(z)``: ``[batch, …latent] → [batch]``, nats."""
        return self.distribution().log_prob(z)

    def sample(self, count: int | tf.Tensor, *, temperature: float, seed: tf.Tensor) -> tf.Tensor:
        """Draws ``[count, …latent]`` with the scale of the distribution times ``temperature``.

        Args:
            count: number of samples, an integer or an int32 scalar.
            temperature: positive factor; 1 gives samples of the distribution itself.
            seed: stateless seed ``[2]``.
        """
        raise NotImplementedError

    def distribution(self) -> tfp.distributions.Distribution:
        """Returns ``p_Z`` as a TFP distribution that uses the current weights."""
        raise NotImplementedError

    def summaries(self) -> dict[str, tf.Tensor]:
        """Returns tensors by name, whose histograms TensorBoard shows during training."""
        return {}


class _Normal(Prior):
    """The base class of normals whose weights are ``mean`` (``μ``) and ``log_scale`` (``s``)."""

    def _draw(self, mean, log_scale, shape, temperature: float, seed: tf.Tensor) -> tf.Tensor:
        """Draws ``μ + temperature exp(s) ε``, ``ε ~ N(0, I)``."""
        noise = tf.random.stateless_normal(shape, seed, dtype=self.compute_dtype)
        return mean + temperature * tf.exp(log_scale) * noise

    def _parameters(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.log_scale)

    def summaries(self) -> dict[str, tf.Tensor]:
        return {"scale": tf.exp(self.log_scale.value)}


@keras.saving.register_keras_serializable("iresnet_tf")
class DiagonalNormal(_Normal):
    """``p_Z(z) = Π N(z_i; μ_i, exp(2 s_i))`` with learned ``μ`` and ``s``, or with both 0.

    Args:
        learned: whether ``μ`` and ``s`` are trained; if not, the prior is the standard normal.
    """

    def __init__(self, learned: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learned = learned

    def build(self, input_shape: tuple) -> None:
        shape = tuple(input_shape[1:])
        options = {"shape": shape, "initializer": "zeros", "trainable": self.learned}
        self.mean = self.add_weight(name="mean", **options)
        self.log_scale = self.add_weight(name="log_scale", **options)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return _log_normal(tf.convert_to_tensor(z, self.compute_dtype), *self._parameters())

    def sample(self, count: int | tf.Tensor, *, temperature: float, seed: tf.Tensor) -> tf.Tensor:
        return self._draw(*self._parameters(), (count, *self.mean.shape), temperature, seed)

    def distribution(self) -> tfp.distributions.Distribution:
        scale = tfp.util.DeferredTensor(self.log_scale.value, tf.exp)
        normal = tfd.Normal(self.mean.value, scale)
        return tfd.Independent(normal, len(self.mean.shape), name="prior")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "learned": self.learned}


@keras.saving.register_keras_serializable("iresnet_tf")
class ConditionalNormal(_Normal):
    """``p_Z(z | y) = Π N(z_i; μ_{y,i}, exp(2 s_{y,i}))``, learned.

    Without a class it is the mixture ``p_Z(z) = Σ_y p_Z(z | y) / K``.

    Args:
        classes: ``K``.
    """

    takes_labels = True

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = int(classes)

    def build(self, input_shape: tuple) -> None:
        shape = (self.classes, *input_shape[1:])
        # The means differ from the start, so that the classes can separate.
        self.mean = self.add_weight(
            name="mean", shape=shape, initializer=keras.initializers.RandomNormal(stddev=0.05)
        )
        self.log_scale = self.add_weight(name="log_scale", shape=shape, initializer="zeros")

    def log_prob(self, z: tf.Tensor, *, labels: tf.Tensor | None = None) -> tf.Tensor:
        """``log p_Z(z | y)``, or ``log p_Z(z)`` without labels: ``[batch]``, nats.

        Args:
            z: ``[batch, …latent]``.
            labels: integer classes ``[batch]``.
        """
        z = tf.convert_to_tensor(z, self.compute_dtype)
        mean, log_scale = self._parameters()
        if labels is not None:
            labels = tf.cast(tf.reshape(labels, [-1]), tf.int32)
            return _log_normal(z, tf.gather(mean, labels), tf.gather(log_scale, labels))
        by_class = [_log_normal(z, mean[k], log_scale[k]) for k in range(self.classes)]
        return tf.reduce_logsumexp(tf.stack(by_class), 0) - math.log(self.classes)

    def sample(
        self,
        count: int | tf.Tensor,
        *,
        temperature: float,
        seed: tf.Tensor,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws ``[count, …latent]`` with the scales times ``temperature``.

        Args:
            count, temperature, seed: see `Prior.sample`.
            labels: integer classes ``[count]``; without them they are drawn uniformly.
        """
        class_seed, noise_seed = random.fold_in(seed, 0), random.fold_in(seed, 1)
        if labels is None:
            labels = tf.random.stateless_uniform([count], class_seed, 0, self.classes, tf.int32)
        mean, log_scale = (tf.gather(weight, labels) for weight in self._parameters())
        return self._draw(mean, log_scale, tf.shape(mean), temperature, noise_seed)

    def distribution(self) -> tfp.distributions.Distribution:
        """Returns the mixture ``p_Z(z)`` as a TFP distribution that uses the current weights."""
        scale = tfp.util.DeferredTensor(self.log_scale.value, tf.exp)
        normal = tfd.Independent(tfd.Normal(self.mean.value, scale), len(self.mean.shape) - 1)
        uniform = tfd.Categorical(logits=tf.zeros([self.classes], self.compute_dtype))
        return tfd.MixtureSameFamily(uniform, normal, name="prior")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}


def as_prior(prior: Prior | str, dtype: Any) -> Prior:
    """Returns a `Prior` unchanged, and a `DiagonalNormal` for ``"learned"`` or ``"fixed"``.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(prior, Prior):
        return prior
    if prior not in ("learned", "fixed"):
        raise ValueError(
            "prior is one of 'learned' and 'fixed' (HybridModel also takes 'conditional'), or an "
            f"iresnet_tf.models.Prior; received {prior!r}."
        )
    return DiagonalNormal(prior == "learned", name="prior", dtype=dtype)


def _log_normal(z: tf.Tensor, mean: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """``Σ log N(z_i; μ_i, exp(2 s_i))`` over the event: ``[batch]``."""
    deviation = (z - mean) * tf.exp(-log_scale)
    log_density = -0.5 * tf.square(deviation) - log_scale - 0.5 * math.log(2.0 * math.pi)
    return tf.reduce_sum(log_density, axis=event_axes(z))
