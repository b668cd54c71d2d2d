"""Trains one invertible network to classify, to give a likelihood and to generate."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers import Invertible
from iresnet_tf.layers.inputs import as_tensor
from iresnet_tf.models.classifying import ClassifyingModel
from iresnet_tf.models.density import DensityModel
from iresnet_tf.models.head import require_class_shape
from iresnet_tf.models.likelihood import weighted_mean
from iresnet_tf.models.prior import ConditionalNormal, Prior
from iresnet_tf.models.serving import as_signatures


@keras.saving.register_keras_serializable("iresnet_tf")
class HybridModel(ClassifyingModel, DensityModel):
    """``loss = −λ log p(x) − log p(y | x)`` in nats, from one invertible trunk.

    With a prior that takes labels, the likelihood in the loss is ``p(x | y)``, ``log_prob`` is
    ``log p(x)`` of the mixture ``p(x) = Σ_y p(x | y) / K``, and ``sample`` takes classes.

    Args:
        layers: invertible layers, data side first.
        classes: ``K``, the number of classes.
        likelihood_weight: ``λ ≥ 0``; ``None`` for ``1 / D``.
        prior: ``"learned"``, ``"fixed"``, ``"conditional"`` (a learned diagonal normal
            for each class), or a `Prior`.
        dropout, pooling, preprocessing, seed: see `Classifier` and `DensityModel`.

    Shapes: ``[batch, …event]``; ``call`` and ``predict`` return ``log_prob`` ``[batch]`` and
    ``logits`` ``[batch, classes]``, by name.

    Raises:
        ValueError: as for `DensityModel` and `Classifier`; for a negative weight.

    Source: Nalisnick et al. 2019 (arXiv:1902.02767); Chen et al. 2019 (arXiv:1906.02735), §5.3.
    """

    def __init__(
        self,
        layers: Iterable[Invertible],
        classes: int,
        *,
        likelihood_weight: float | None = None,
        prior: Prior | str = "learned",
        **kwargs: Any,
    ) -> None:
        if prior == "conditional":
            prior = ConditionalNormal(classes, name="prior", dtype=kwargs.get("dtype"))
        super().__init__(layers, classes, prior=prior, **kwargs)
        if likelihood_weight is not None and not likelihood_weight >= 0.0:
            raise ValueError(
                "likelihood_weight is a number of at least 0, or None for 1/D; received "
                f"{likelihood_weight!r}."
            )
        self.likelihood_weight = likelihood_weight

    def _reported(self) -> tuple[str, ...]:
        return (*super()._reported(), "cross_entropy", "accuracy")

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        x = as_tensor(x, self.compute_dtype)
        return {"log_prob": self.log_prob(x), "logits": self.classify(x)}

    def sample(
        self,
        count: int,
        *,
        temperature: float | Sequence[float] = 1.0,
        seed: int | tf.Tensor | None = None,
        tolerance: float | None = None,
        labels: Sequence[int] | tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws samples as `DensityModel.sample` does, of given classes if there are ``labels``.

        Args:
            count, temperature, seed, tolerance: see `DensityModel.sample`.
            labels: integer classes ``[count]``, for a prior that takes labels.
        """
        if labels is None:
            return super().sample(count, temperature=temperature, seed=seed, tolerance=tolerance)
        self._require_sampling(count, temperature)
        if not self.prior.takes_labels:
            raise ValueError(
                "Samples of given classes need prior='conditional', or another prior that takes "
                f"labels; this model's is {type(self.prior).__name__}. Leave labels out."
            )
        drawn = tf.cast(tf.convert_to_tensor(labels), tf.int32)
        in_range = tf.reduce_all((drawn >= 0) & (drawn < self.classes))
        if drawn.shape != (count,) or not bool(in_range):
            raise ValueError(
                f"labels are {count} classes from 0 to {self.classes - 1}; received "
                f"{drawn.numpy()!r}."
            )
        return self._sampled(int(count), temperature, seed, tolerance, labels=drawn)

    def signatures(self) -> dict[str, Any]:
        labels = tf.TensorSpec([None], tf.int32)
        number, integer = tf.TensorSpec([], self.compute_dtype), tf.TensorSpec([], tf.int32)

        def sample_given_labels(labels, temperature, seed):
            """Returns a sample x of each of the given classes."""
            return self._served_samples(tf.size(labels), temperature, seed, labels=labels)

        functions = super().signatures()
        if self.prior.takes_labels:
            functions |= as_signatures((sample_given_labels, labels, number, integer))
        return functions

    def _objective(self, x, y, sample_weight, seed, training):
        if y is None:
            raise ValueError("A hybrid model needs batches of (x, y); received no classes y.")
        require_class_shape(y)
        y = tf.cast(tf.reshape(y, [-1]), tf.int32)
        latent, log_det = self._latent(x, seed)
        condition = {"labels": y} if self.prior.takes_labels else {}
        log_prior = self.prior.log_prob(latent, **condition)
        logits = self.head(self.flow._last_latent(latent), training=training)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        right = tf.cast(tf.argmax(logits, -1, tf.int32) == y, self.compute_dtype)
        weight = 1.0 / self.dimension if self.likelihood_weight is None else self.likelihood_weight
        loss = weighted_mean(cross_entropy - weight * (log_prior + log_det), sample_weight)
        figures = {"log_prior": log_prior, "log_det": log_det}
        return loss, {**figures, "cross_entropy": cross_entropy, "accuracy": right}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "likelihood_weight": self.likelihood_weight}
