"""Density estimation with an invertible network."""

import collections
import copy
import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.bijectors import from_layer
from iresnet_tf.layers import Dequantize, Stack, refresh, residual_blocks
from iresnet_tf.layers.invertible import as_tensor
from iresnet_tf.models import inputs
from iresnet_tf.models.distribution import FlowDistribution
from iresnet_tf.models.prior import DiagonalNormal
from iresnet_tf.numerics import probes

tfb = tfp.bijectors


@keras.saving.register_keras_serializable("iresnet_tf")
class DensityModel(keras.Model):
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

    def __init__(self, layers, prior="learned", preprocessing=(), seed=None, **kwargs):
        super().__init__(**kwargs)
        self.flow = Stack([*preprocessing, *layers], name="flow", dtype=self.dtype_policy)
        self.preprocessing_depth = len(preprocessing)
        self.prior = DiagonalNormal(prior, name="prior", dtype=self.dtype_policy)
        self.noise_seed = _seed_value(seed)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.log_prior_tracker = keras.metrics.Mean(name="log_prior")
        self.log_det_tracker = keras.metrics.Mean(name="log_det")

    # Building and compiling.

    def build(self, input_shape):
        if len(input_shape) < 2 or None in tuple(input_shape[1:]):
            raise ValueError(
                f"{self.name} takes batches of samples of a known shape, [batch, …event]; "
                f"received shape {tuple(input_shape)}. Batch the data, or give scalars a "
                "trailing axis of 1."
            )
        if not self.flow.built:
            self.flow.build(tuple(input_shape))
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
        # Made here, eagerly: made inside a traced step it would not survive a retrace.
        self._bijector = from_layer(self.flow, name="flow")

    def compile(self, optimizer="adam", jit_compile=False, **kwargs):
        """As `keras.Model.compile`, without a loss: the model has its own.

        ``jit_compile`` is off unless asked for: on a CPU it makes a step slower.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"{type(self).__name__} brings its own loss (the mean negative "
                    f"log-likelihood) and metrics; received {name}={kwargs[name]!r}. Leave it out."
                )
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def compile_from_config(self, config):
        """What loading calls; Keras skips it for a model with a `compile` of its own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self):
        return [self.loss_tracker, self.log_prior_tracker, self.log_det_tracker]

    @property
    def dequantize(self):
        """The `Dequantize` layer that the data pass first, or ``None``."""
        first = self.flow.parts[0] if self.flow.parts else None
        return first if isinstance(first, Dequantize) else None

    # The density.

    def call(self, x):
        return self.log_prob(x)

    def log_prob(self, x, seed=None):
        """``log p(x)`` at points of data space (noise included), ``[batch]``, nats."""
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        if self.dequantize is not None:
            self.dequantize.require_range(x)
        latent, log_det = self.flow.forward_and_log_det(x, seed)
        return self.prior.log_prob(latent) + log_det

    def encode(self, x):
        """``z = F(x)``."""
        return self.flow(self.flow.prepare(x))

    def decode(self, z):
        """``x = F⁻¹(z)``."""
        self._require_built()
        return self.flow.preimage(self.flow.prepare_output(z))

    def bijector(self):
        """``F`` as a `tfp.bijectors.Bijector`, data → latent."""
        self._require_built()
        return self._bijector

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

    def sample(self, count, temperature=1.0, seed=None):
        """``F⁻¹(z)`` for ``z`` from the prior with its scale times ``temperature``.

        Args:
            count: number of samples.
            temperature: above 0; 1 samples the model itself.
            seed: integer or stateless seed; fresh by default.

        Returns:
            ``[count, …event]``; levels, where the data are discrete.
        """
        self._require_built()
        if count != int(count) or count < 1:
            raise ValueError(f"count is an integer of at least 1; received {count!r}.")
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature is a positive number; received {temperature!r}.")
        seed = self.flow.next_seed() if seed is None else probes.as_seed(seed)
        x = self.decode(self.prior.sample(int(count), temperature, seed))
        return x if self.dequantize is None else self.dequantize.to_levels(x)

    # Training.

    def initialize(self, x):
        """Data-dependent initialisation (`ActNorm`) from a batch; once in a model's life."""
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        if not self.flow.is_initialized():
            self.flow.initialize(self._noisy(x, tf.constant([0, -1])))

    def fit(self, x=None, y=None, **kwargs):
        """As `keras.Model.fit`; begins with `initialize`, ends with refined spectral vectors.

        Args:
            x: array or tensor ``[examples, …event]``, or a batched `tf.data.Dataset`
                (of ``x``, ``(x, y)`` or ``(x, y, sample_weight)``).
            y: not used.
            **kwargs: of `keras.Model.fit`.  A ``sample_weight`` counts relative to the
                others of its batch.

        Raises:
            ValueError: for other data, or none.
        """
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)
        examples = inputs.first_examples(x, 1024, kwargs.get("validation_split") or 0.0)
        self._require_event_shape(x)
        with self.distribute_strategy.scope():
            self.initialize(examples)
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple) and len(validation) == 3:
            held_out, targets, weights = validation
            kwargs["validation_data"] = held_out, inputs.targets_beside(targets, weights), weights
        history = super().fit(x, inputs.targets_beside(y, kwargs.get("sample_weight")), **kwargs)
        refresh(self)
        return history

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """As `keras.Model.train_on_batch`; begins with `initialize`."""
        if not (self.built and self.flow.is_initialized()):
            self.initialize(inputs.first_examples(x, len(x)))
        self._require_event_shape(x)
        return super().train_on_batch(
            x, inputs.targets_beside(y, sample_weight), sample_weight, **kwargs
        )

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
        refresh(self)
        seed = self.noise_seed if seed is None else _seed_value(seed)
        self.evaluation_seed.assign([seed, -1])
        return super().evaluate(x, inputs.targets_beside(y, kwargs.get("sample_weight")), **kwargs)

    def predict(self, x, **kwargs):
        """As `keras.Model.predict`: ``log p(x)``, ``[examples]``, nats."""
        self._build_for(x)
        return super().predict(x, **kwargs)

    def train_step(self, data):
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        seed = tf.stack([self.noise_seed, tf.cast(self.optimizer.iterations, tf.int32)])
        with tf.GradientTape() as tape:
            loss, parts = self._objective(x, sample_weight, seed)
            # The optimizer adds up the gradients of the replicas.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss / replicas)
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return self._report(x, loss, parts, sample_weight)

    def test_step(self, data):
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.evaluation_seed.assign_sub([0, 1])
        seed = tf.identity(self.evaluation_seed.value)
        loss, parts = self._objective(x, sample_weight, seed)
        return self._report(x, loss, parts, sample_weight)

    def _objective(self, x, sample_weight, seed):
        noisy = self._noisy(x, seed)
        latent, log_det = self.flow.forward_and_log_det(noisy, probes.fold_in(seed, 1))
        log_prior = self.prior.log_prob(latent)
        return _weighted_mean(-(log_prior + log_det), sample_weight), (log_prior, log_det)

    def _noisy(self, x, seed):
        x = as_tensor(x, self.compute_dtype)
        if self.dequantize is None:
            return x
        return self.dequantize.add_noise(x, probes.fold_in(seed, 0))

    def _report(self, x, loss, parts, sample_weight):
        batch = tf.shape(x)[0]
        weight = batch if sample_weight is None else tf.reduce_sum(sample_weight)
        self.loss_tracker.update_state(loss, sample_weight=weight)
        self.log_prior_tracker.update_state(parts[0], sample_weight)
        self.log_det_tracker.update_state(parts[1], sample_weight)
        results = {metric.name: metric.result() for metric in self.metrics}
        if self.dequantize is not None:
            results["bits_per_dim"] = bits_per_dim(results["loss"], self.dimension)
        return results

    # Facts and files.

    @property
    def dimension(self):
        """``D``, the elements of one sample."""
        self._require_built()
        return int(np.prod(self.flow.event_shape))

    def lipschitz_bounds(self):
        """Certified ``Lip(g)`` of every residual block; ``inf`` where it is not known.

        A name that occurs again, because its block does or by coincidence, is numbered.
        """
        self._require_built()
        bounds, seen = {}, collections.Counter()
        for block in residual_blocks(self.flow):
            seen[block.name] += 1
            again = f" ({seen[block.name]})" if seen[block.name] > 1 else ""
            bounds[block.name + again] = block.known_lipschitz()
        return bounds

    def save(self, filepath, **kwargs):
        """As `keras.Model.save`; begins with refined spectral vectors."""
        refresh(self)
        super().save(filepath, **kwargs)

    def _build_for(self, x):
        if not self.built:
            with self.distribute_strategy.scope():
                self.build(inputs.first_examples(x).shape)
        self._require_event_shape(x)

    def _require_event_shape(self, x):
        """Refuses another shape here, where it is known; a traced step may not know it."""
        shape = inputs.static_shape(x)
        if self.built and not shape[1:].is_compatible_with(self.flow.event_shape):
            raise ValueError(
                f"{self.name} was built for samples of shape {tuple(self.flow.event_shape)}; "
                f"received data of shape {shape}. Reshape the data, or make a new model."
            )

    def _require_built(self):
        if not self.built:
            raise ValueError(
                f"{self.name} does not know the shape of its data yet. Fit it, call it on a "
                "batch, or build((None, …event)) it first."
            )

    def get_config(self):
        parts = [keras.saving.serialize_keras_object(part) for part in self.flow.parts]
        return {
            **super().get_config(),
            "layers": parts[self.preprocessing_depth :],
            "preprocessing": parts[: self.preprocessing_depth],
            "prior": self.prior.kind,
            "seed": self.noise_seed,
        }

    @classmethod
    def from_config(cls, config):
        config = copy.deepcopy(config)
        for field in ("layers", "preprocessing"):
            config[field] = [keras.saving.deserialize_keras_object(x) for x in config[field]]
        return cls(**config)


def bits_per_dim(nats, dimension):
    """``nats / (D ln 2)``."""
    return nats / (dimension * math.log(2.0))


def _weighted_mean(values, weights):
    """``Σ w v / Σ w`` over the batch."""
    if weights is None:
        return tf.reduce_mean(values)
    weights = tf.cast(tf.reshape(weights, [-1]), values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * values), tf.reduce_sum(weights))


def _seed_value(seed):
    if seed is None:
        return int(keras.random.randint((), 0, 2**31 - 1))
    if seed != int(seed) or not 0 <= seed < 2**31:
        raise ValueError(f"seed is an integer from 0 to 2**31 − 1; received {seed!r}.")
    return int(seed)
