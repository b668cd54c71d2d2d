"""Trains by maximum likelihood: defines the objective, the steps and their metrics."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.internals import micro_steps
from iresnet_tf.layers import Invertible
from iresnet_tf.layers.economy import Economy, economical
from iresnet_tf.models import inputs
from iresnet_tf.models.accumulation import accumulated
from iresnet_tf.models.flow import FlowModel
from iresnet_tf.models.head import require_whole_batches
from iresnet_tf.models.inference_mode import require_inference_mode, require_no_added_losses
from iresnet_tf.models.prior import Prior, as_prior
from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import replicas
from iresnet_tf.numerics.options import require_integer


class LikelihoodModel(FlowModel):
    """Fits a flow and its prior by the mean of ``−log p_Z(F(x)) − log |det ∂F/∂x|``, in nats.

    The regularizers of trainable weights are added to the loss once, in ``fit`` and ``evaluate``;
    the other metrics have no penalty.  The layers are called in inference mode, so those that act
    differently in training, and penalties on activations, are refused.

    For the arguments see `DensityModel`.
    """

    _object_fields = ("layers", "preprocessing", "prior")

    def __init__(
        self,
        layers: Sequence[Invertible],
        *,
        prior: Prior | str = "learned",
        preprocessing: Sequence[Invertible] = (),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layers, preprocessing=preprocessing, seed=seed, **kwargs)
        self.prior = as_prior(prior, self.dtype_policy)
        self._require_own_dtype(self.prior)
        names = ("loss", *self._reported())
        self._trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def _reported(self) -> tuple[str, ...]:
        """Returns the names of the per-sample figures that `_objective` returns."""
        return ("log_prior", "log_det")

    def build(self, input_shape: Sequence[int | None]) -> None:
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

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "adam",
        jit_compile: bool = False,
        accumulation_steps: int = 1,
        log_det_share: float = 1.0,
        product_dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Compiles like `keras.Model.compile`, but takes no loss, because the model has one.

        Args:
            optimizer: optimizer of Keras, or its name.
            jit_compile: whether XLA compiles a step; on a CPU it makes a step slower.
            accumulation_steps: number of parts of a batch.  Their gradients are computed one
                after the other and added up, and the optimizer takes one step: to rounding, the
                step of the whole batch, with the memory of one part.
            log_det_share: share of the samples of a batch, in (0, 1], whose log-determinants a
                training step estimates, drawn anew in each block; the estimates are weighted by the
                inverse of the share.  The loss, its gradient and the metrics of training,
                ``bits_per_dim`` included, keep their expectations and vary more.
            product_dtype: in a training step, the dtype of the products with the kernels of every
                ``g`` and of the vectors between them: ``"bfloat16"``, or ``None`` for float32.
            **kwargs: options of `keras.Model.compile`.

        Neither ``log_det_share`` nor ``product_dtype`` changes an evaluation, an inverse or a
        certificate, and validation in ``fit`` does not depend on them either.

        Raises:
            ValueError: for a loss or metrics; for ``accumulation_steps`` below 1, or above 1
                with ``jit_compile``, because XLA has no loop over parts, or with classes, because
                their head needs whole batches; for another share or dtype, or a ``product_dtype``
                if the model computes in float64.
        """
        economy = Economy(log_det_share, product_dtype)
        if self.classes is not None:
            require_whole_batches(accumulation_steps)
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"{type(self).__name__} has its own loss (the mean negative "
                    f"log-likelihood) and metrics; received {name}={kwargs[name]!r}. Leave it out."
                )
        accumulation_steps = require_integer("accumulation_steps", accumulation_steps)
        if jit_compile and accumulation_steps > 1:
            raise ValueError(
                "XLA cannot compile a batch in parts; received jit_compile=True and "
                f"accumulation_steps={accumulation_steps}. Leave one of them out."
            )
        super().compile(optimizer, economy=economy, jit_compile=jit_compile, **kwargs)
        self.accumulation_steps = accumulation_steps

    def get_compile_config(self) -> dict[str, Any] | None:
        config = super().get_compile_config()
        return config and {**config, "accumulation_steps": self.accumulation_steps}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*self._trackers.values(), self.max_gradient]

    def evaluate(
        self, x: Any = None, y: Any = None, *, seed: int | None = None, **kwargs: Any
    ) -> Any:
        """Evaluates like `keras.Model.evaluate`; starts by refining the spectral vectors.

        Every evaluation draws the same noise and probes, so the results of two evaluations differ
        only if the weights or the data do.

        Args:
            x, y: data as for `fit`.
            seed: integer that decides the noise and probes; by default the seed of the model.
            **kwargs: options of `keras.Model.evaluate`.
        """
        x = self._opened(x)
        self._build_for(x)
        seed = self.noise_seed if seed is None else random.seed_value(seed)
        self.evaluation_seed.assign([seed, -1])
        return super().evaluate(x, y, **kwargs)

    def make_train_function(self, force: bool = False) -> None:
        require_inference_mode(self)
        super().make_train_function(force)

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = inputs.require_examples(x)
        seed = tf.stack([self.noise_seed, micro_steps(self.optimizer)])
        seed = replicas.placed_seed(seed, tf.shape(x)[0])
        batch, total = (x, y, sample_weight), self._weight(x, sample_weight)
        # The weight of this replica's mean in the mean over all replicas.
        share = replicas.global_weight_share(total)

        def differentiate(part, part_seed):
            x, y, sample_weight = part
            weight = tf.math.divide_no_nan(self._weight(x, sample_weight), total)
            rounding = random.fold_in(part_seed, 2)
            with economical(self.economy, rounding), tf.GradientTape() as tape:
                loss, figures = self._penalized(x, y, sample_weight, part_seed, training=True)
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
                parts=self.accumulation_steps,
                variables=self.trainable_variables,
                names=self._reported(),
                dtype=self.compute_dtype,
            )
        with economical(self.economy, seed):
            self._descend(gradients)
        report = self._report(x, loss, figures, sample_weight)
        return {**report, "max_gradient": self.max_gradient.result()}

    def test_step(self, data: tuple) -> dict[str, tf.Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.evaluation_seed.assign_sub([0, 1])
        seed = replicas.placed_seed(tf.identity(self.evaluation_seed.value), tf.shape(x)[0])
        loss, figures = self._penalized(x, y, sample_weight, seed, training=False)
        return self._report(x, loss, figures, sample_weight)

    def _penalized(self, *batch, **options) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns `_objective` with the regularizers of the trainable weights in the loss."""
        loss, figures = self._objective(*batch, **options)
        require_no_added_losses(self)
        for weight in self.trainable_variables:
            if weight.regularizer is not None:
                loss += tf.cast(weight.regularizer(weight), loss.dtype)
        return loss, figures

    def _objective(
        self, x, y, sample_weight, seed: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the loss of a batch without penalties, and the per-sample figures to report.

        If the model takes a context, ``y`` is the context.
        """
        del training
        latent, log_det = self._latent(x, seed, y if self.takes_context else None)
        log_prior = self.prior.log_prob(latent)
        loss = weighted_mean(-(log_prior + log_det), sample_weight)
        return loss, {"log_prior": log_prior, "log_det": log_det}

    def _latent(self, x, seed: tf.Tensor, context: tf.Tensor | None = None):
        """Returns ``F`` and ``log |det ∂F/∂x|`` at ``x`` plus its noise."""
        noisy = self.dequantized(x, random.fold_in(seed, 0))
        return self.flow.forward_and_log_det(noisy, seed=random.fold_in(seed, 1), context=context)

    def _weight(self, x: tf.Tensor, sample_weight: tf.Tensor | None) -> tf.Tensor:
        """Returns the sum of the weights of a batch; by default the weights are 1."""
        if sample_weight is None:
            return tf.cast(tf.shape(x)[0], self.compute_dtype)
        weights = tf.cast(sample_weight, self.compute_dtype)
        with tf.control_dependencies([tf.debugging.assert_non_negative(weights, inputs.WEIGHTS)]):
            return tf.reduce_sum(weights)

    def _report(self, x, loss: tf.Tensor, figures: dict[str, tf.Tensor], sample_weight):
        self._trackers["loss"].update_state(loss, sample_weight=self._weight(x, sample_weight))
        for name, values in figures.items():
            self._trackers[name].update_state(values, sample_weight)
        results = self.get_metrics_result()
        del results["max_gradient"]
        return results

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """Returns the metrics of `keras.Model`, and ``bits_per_dim`` for discrete data."""
        results = super().get_metrics_result()
        if self.dequantize is not None:
            nats = -(results["log_prior"] + results["log_det"])
            results["bits_per_dim"] = bits_per_dim(nats, self.dimension)
        return results

    def get_config(self) -> dict[str, Any]:
        prior = keras.saving.serialize_keras_object(self.prior)
        return {**super().get_config(), "prior": prior}


def bits_per_dim(nats: float, dimension: int) -> float:
    """``nats / (D ln 2)``, in bits per dimension."""
    return nats / (dimension * math.log(2.0))


def weighted_mean(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """``Σ w v / Σ w`` over the batch; the plain mean without weights."""
    if weights is None:
        return tf.reduce_mean(values)
    weights = tf.cast(tf.reshape(weights, [-1]), values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * values), tf.reduce_sum(weights))
