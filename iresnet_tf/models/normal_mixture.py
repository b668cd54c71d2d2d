"""Defines a prior of several clusters."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from iresnet_tf.models.prior import Prior
from iresnet_tf.numerics import random
from iresnet_tf.numerics.options import require_integer


@keras.saving.register_keras_serializable("iresnet_tf")
class NormalMixture(Prior):
    """``p_Z(z) = Σ_k w_k N(z; μ_k, Σ_k)`` with full covariance matrices, for ``z [batch, D]``.

    The parameters are not trained.  `set_parameters` sets them, for example those of a
    `sklearn.mixture.GaussianMixture` of the latents; until then every component is the standard
    normal.

    Args:
        components: number of components.

    Raises:
        ValueError: for fewer than one component; when it is built, for latents that are no
            vectors.
    """

    def __init__(self, components: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.components = require_integer("components", components)

    def build(self, input_shape: tuple) -> None:
        if len(input_shape) != 2:
            raise ValueError(
                f"NormalMixture is for latents that are vectors, [batch, D]; received "
                f"{tuple(input_shape)}. End the layers of an image model with Flatten."
            )
        count, dimension = self.components, input_shape[-1]
        options = {"trainable": False, "initializer": "zeros"}
        self.log_weight = self.add_weight(
            name="log_weight",
            shape=(count,),
            trainable=False,
            initializer=keras.initializers.Constant(-math.log(count)),
        )
        self.mean = self.add_weight(name="mean", shape=(count, dimension), **options)
        self.scale = self.add_weight(
            name="scale",
            shape=(count, dimension, dimension),
            trainable=False,
            initializer=lambda shape, dtype: tf.eye(dimension, batch_shape=[count], dtype=dtype),
        )

    def set_parameters(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> None:
        """Sets ``w``, ``μ`` and ``Σ``.

        Args:
            weights: ``[components]``, positive; they are divided by their sum.
            means: ``[components, D]``.
            covariances: ``[components, D, D]``, positive definite.
        """
        weights = np.asarray(weights, np.float64)
        self.log_weight.assign(np.log(weights / weights.sum()))
        self.mean.assign(means)
        self.scale.assign(np.linalg.cholesky(np.asarray(covariances, np.float64)))

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        z = tf.convert_to_tensor(z, self.compute_dtype)
        scale = tf.convert_to_tensor(self.scale)
        # [components, D, batch]
        deviation = tf.transpose(z[None] - tf.convert_to_tensor(self.mean)[:, None], [0, 2, 1])
        standard = tf.linalg.triangular_solve(scale, deviation)
        constant = 0.5 * math.log(2.0 * math.pi) * z.shape[-1]
        offset = self.log_weight - tf.reduce_sum(tf.math.log(tf.linalg.diag_part(scale)), -1)
        return tf.reduce_logsumexp(
            offset[:, None] - constant - 0.5 * tf.reduce_sum(tf.square(standard), 1), 0
        )

    def sample(self, count: int | tf.Tensor, *, temperature: float, seed: tf.Tensor) -> tf.Tensor:
        component_seed, noise_seed = random.fold_in(seed, 0), random.fold_in(seed, 1)
        logits = tf.convert_to_tensor(self.log_weight)[None]
        component = tf.random.stateless_categorical(logits, count, component_seed)[0]
        mean, scale = (tf.gather(each, component) for each in (self.mean, self.scale))
        noise = tf.random.stateless_normal(tf.shape(mean), noise_seed, dtype=self.compute_dtype)
        return mean + temperature * tf.linalg.matvec(scale, noise)

    def distribution(self) -> tfp.distributions.Distribution:
        normal = tfp.distributions.MultivariateNormalTriL(self.mean.value, self.scale.value)
        categorical = tfp.distributions.Categorical(logits=self.log_weight.value)
        return tfp.distributions.MixtureSameFamily(categorical, normal, name="prior")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "components": self.components}
