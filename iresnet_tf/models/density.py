"""Density estimation with an invertible network."""

import math
import warnings

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.layers.inputs import as_tensor
from iresnet_tf.models.accumulation import accumulated
from iresnet_tf.models.distribution import FlowDistribution
from iresnet_tf.models.flow import FlowModel, seed_value
from iresnet_tf.models.prior import DiagonalNormal
from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import replicas

tfb = tfp.bijectors


@keras.saving.register_keras_serializable("iresnet_tf")
class DensityModel(FlowModel):
    """``log p(x) = log p_Z(F(x)) + log |det ∂F/∂x|`` in nats, ``F`` an invertible stack.

    The model builds itself from the data and brings its own loss, the mean of
    ``−log p(x)``: ``compile(optimizer=…)`` and ``fit(x)`` suffice.  With a
    `Dequantize` layer first in ``preprocessing`` the data are levels
    ``{0, …, n−1}``; ``fit`` and ``evaluate`` add uniform noise ``u`` and report
    ``bits_per_dim = −log p(x + u) / (D ln 2)`` beside the loss.

    Args:
        layers: invertible layers, data side first.
        prior: ``"learned"`` (diagonal normal with trained mean and scale) or
            ``"fixed"`` (standard normal).
        preprocessing: fixed invertible layers before them, as
            ``(Dequantize(256), Logit(0.05))``.
        seed: of the noise and probes drawn in ``fit`` and ``evaluate``; a fresh one
            by default (it follows `keras.utils.set_random_seed`).

    Shapes: ``[batch, …event]``; ``call`` and ``predict`` give ``log p(x)``, ``[batch]``.

    Raises:
        ValueError: for layers that are not invertible, or an unknown prior.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), §3; the change of variables.
    """

    has_density = True

    def __init__(self, layers, prior="learned", preprocessing=(), seed=None, **kwargs):
        super().__init__(layers, preprocessing, seed, **kwargs)
        if not isinstance(prior, keras.layers.Layer):
            prior = DiagonalNormal(prior, name="prior", dtype=self.dtype_policy)
        self.prior = prior
        self._trackers = {
            name: keras.metrics.Mean(name=name) for name in ("loss", *self._reported())
        }

    def _reported(self):
        """Names of the per-sample figures that `_objective` returns."""
        return ("log_prior", "log_det")

    def build(self, input_shape):
        super().build(input_shape)
        if not self.prior.built:
            self.prior.build((None, *self.flow.latent_shape))
        self.evaluation_seed = self.add_weight(
            name="evaluation_seed",
            shape=(2,),
            dtype="int32",
            initializer=lambda shape, dtype: tf.constant([self.noise_seed, -1], dtype),
            trainable=False,
            aggregation="only_first_replica",
        )

    def compile(self, optimizer="adam", jit_compile=False, accumulation_steps=1, **kwargs):
        """As `keras.Model.compile`, without a loss: the model has its own.

        Args:
            optimizer: as Keras's.
            jit_compile: off unless asked for: on a CPU it makes a step slower.
            accumulation_steps: parts of a batch whose gradients are taken in turn and added up
                before the one step of the optimizer: the same step to rounding, with the memory
                of a part.
            **kwargs: of `keras.Model.compile`.

        Raises:
            ValueError: for a loss or metrics, ``accumulation_steps`` below 1, or above 1 with
                ``jit_compile``, for which XLA has no loop over parts.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"{type(self).__name__} brings its own loss (the mean negative "
                    f"log-likelihood) and metrics; received {name}={kwargs[name]!r}. Leave it out."
                )
        if accumulation_steps != int(accumulation_steps) or accumulation_steps < 1:
            raise ValueError(
                f"accumulation_steps is an integer of at least 1; received {accumulation_steps!r}."
            )
        if jit_compile and accumulation_steps > 1:
            raise ValueError(
                "XLA cannot compile a batch in parts; received jit_compile=True and "
                f"accumulation_steps={accumulation_steps}. Leave one of them out."
            )
        self.accumulation_steps = int(accumulation_steps)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def get_compile_config(self):
        config = super().get_compile_config()
        return config and {**config, "accumulation_steps": self.accumulation_steps}

    @property
    def metrics(self):
        return [*self._trackers.values(), self.max_gradient]

    # The density.

    def call(self, x):
        return self.log_prob(x)

    def log_prob(self, x, seed=None):
        """``log p(x)`` at points of data space (noise included), ``[batch]``, nats."""
        return self._log_prob(x, seed)

    def _log_prob(self, x, seed, context=None):
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        if self.dequantize is not None:
            self.dequantize.require_range(x)
        latent, log_det = self.flow.forward_and_log_det(x, seed=seed, context=context)
        return self.prior.log_prob(latent) + log_det

    def distribution(self):
        """The density over data space as a `tfp.distributions.Distribution`.

        For discrete data it is the continuous density on ``[0, n)^D``,
        preprocessing included; seed its estimator with
        ``log_prob(x, bijector_kwargs={"seed": s})``.
        """
        self._require_built()
        return FlowDistribution(
            self.prior.distribution(), tfb.Invert(self._bijector), name="density"
        )

    def sample(self, count, temperature=1.0, seed=None, tolerance=None):
        """``F⁻¹(z)`` for ``z`` from the prior with its scale times ``temperature``.

        Args:
            count: number of samples.
            temperature: above 0; 1 samples the model itself.  Of several, ``[temperatures]``,
                each sample is drawn at all, with the same noise: see `decode_paths`.
            seed: integer or stateless seed; fresh by default.
            tolerance: of `decode`.

        Returns:
            ``[count, …event]``, or ``[count, temperatures, …event]``; levels, where the data
            are discrete.
        """
        self._require_sampling(count, temperature)
        return self._sampled(int(count), temperature, seed, tolerance)

    def _sampled(self, count, temperature, seed, tolerance, context=None, **condition):
        """With a context ``[count, …]`` for the map, or a condition for the prior."""
        seed = self.flow._next_seed() if seed is None else random.as_seed(seed)
        if np.ndim(temperature):
            paths = [self.prior.sample(count, each, seed, **condition) for each in temperature]
            x = self.decode_paths(tf.stack(paths, 1), tolerance=tolerance, context=context)
        else:
            z = self.prior.sample(count, temperature, seed, **condition)
            x = self.decode(z, tolerance=tolerance, context=context)
        return self.to_levels(x)

    def _require_sampling(self, count, temperature):
        self._require_built()
        if np.ndim(count) or count != int(count) or count < 1:
            raise ValueError(f"count is an integer of at least 1; received {count!r}.")
        temperatures = np.asarray(temperature)
        positive = (temperatures > 0.0) & (temperatures < np.inf)
        if temperatures.ndim > 1 or not temperatures.size or not positive.all():
            raise ValueError(
                f"temperature is a positive number, or several in a row; received {temperature!r}."
            )

    def predict(self, x, **kwargs):
        """What `call` gives, ``log p(x)`` in nats or with it: as `keras.Model.predict`.

        Args:
            x: points of data space; for discrete data levels with noise,
                ``model.dequantized(x, seed)``; `fit` and `evaluate` add it themselves.  Arrays
                of integers are taken as they are, with a warning.
            **kwargs: of `keras.Model.predict`.
        """
        dtype = str(getattr(x, "dtype", ""))
        if self.dequantize is not None and "int" in dtype:
            warnings.warn(
                f"predict takes points of data space; received levels, {dtype}. Without noise they "
                "lie at the corners of their cells, and their density says little of the levels': "
                "give model.dequantized(x, seed), or use evaluate.",
                stacklevel=2,
            )
        return super().predict(x, **kwargs)

    # Training.

    def evaluate(self, x=None, y=None, seed=None, **kwargs):
        """As `keras.Model.evaluate`; begins with refined spectral vectors.

        Every evaluation draws the same noise and probes, so two differ by the
        weights and the data alone.

        Args:
            x, y: as for `fit`.
            seed: integer for other draws; the model's by default.
            **kwargs: of `keras.Model.evaluate`.
        """
        self._build_for(x)
        seed = self.noise_seed if seed is None else seed_value(seed)
        self.evaluation_seed.assign([seed, -1])
        return super().evaluate(x, y, **kwargs)

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        seed = tf.stack([self.noise_seed, tf.cast(self.optimizer.iterations, tf.int32)])
        seed = replicas.placed_seed(seed, tf.shape(x)[0])
        batch, total = (x, y, sample_weight), self._weight(x, sample_weight)
        # What this replica's mean counts in the global one.
        share = replicas.global_weight_share(total)

        def differentiate(part, part_seed):
            x, y, sample_weight = part
            weight = tf.math.divide_no_nan(self._weight(x, sample_weight), total)
            with tf.GradientTape() as tape:
                loss, figures = self._objective(x, y, sample_weight, part_seed, training=True)
                loss *= weight
                scaled = self.optimizer.scale_loss(loss * share)
            return loss, figures, tape.gradient(scaled, self.trainable_variables)

        if self.accumulation_steps == 1:
            loss, figures, gradients = differentiate(batch, seed)
        else:
            loss, figures, gradients = accumulated(
                differentiate,
                batch,
                seed,
                self.accumulation_steps,
                self.trainable_variables,
                self._reported(),
                self.compute_dtype,
            )
        self._descend(gradients)
        report = self._report(x, loss, figures, sample_weight)
        return {**report, "max_gradient": self.max_gradient.result()}

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.evaluation_seed.assign_sub([0, 1])
        seed = replicas.placed_seed(tf.identity(self.evaluation_seed.value), tf.shape(x)[0])
        loss, parts = self._objective(x, y, sample_weight, seed, training=False)
        return self._report(x, loss, parts, sample_weight)

    def _objective(self, x, y, sample_weight, seed, training):
        """The loss and the per-sample figures beside it."""
        del y, training
        return self._likelihood(x, sample_weight, seed)

    def _likelihood(self, x, sample_weight, seed, context=None):
        latent, log_det = self._latent(x, seed, context)
        log_prior = self.prior.log_prob(latent)
        loss = weighted_mean(-(log_prior + log_det), sample_weight)
        return loss, {"log_prior": log_prior, "log_det": log_det}

    def _latent(self, x, seed, context=None):
        """``z`` and the log-determinant at ``x`` with its noise."""
        noisy = self.dequantized(x, random.fold_in(seed, 0))
        return self.flow.forward_and_log_det(
            noisy, seed=random.fold_in(seed, 1), context=context
        )

    def _weight(self, x, sample_weight):
        """What the batch counts."""
        if sample_weight is None:
            return tf.cast(tf.shape(x)[0], self.compute_dtype)
        return tf.reduce_sum(tf.cast(sample_weight, self.compute_dtype))

    def _report(self, x, loss, parts, sample_weight):
        self._trackers["loss"].update_state(loss, sample_weight=self._weight(x, sample_weight))
        for name, values in parts.items():
            self._trackers[name].update_state(values, sample_weight)
        results = self.get_metrics_result()
        del results["max_gradient"]
        return results

    def get_metrics_result(self):
        """As `keras.Model.get_metrics_result`; with ``bits_per_dim`` for discrete data."""
        results = super().get_metrics_result()
        if self.dequantize is not None:
            nats = -(results["log_prior"] + results["log_det"])
            results["bits_per_dim"] = bits_per_dim(nats, self.dimension)
        return results

    def get_config(self):
        return {**super().get_config(), "prior": self.prior.kind}


def bits_per_dim(nats, dimension):
    """``nats / (D ln 2)``."""
    return nats / (dimension * math.log(2.0))


def weighted_mean(values, weights):
    """``Σ w v / Σ w`` over the batch."""
    if weights is None:
        return tf.reduce_mean(values)
    weights = tf.cast(tf.reshape(weights, [-1]), values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * values), tf.reduce_sum(weights))
