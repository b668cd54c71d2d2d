"""One invertible network that classifies, gives a likelihood and generates."""

import keras
import tensorflow as tf

from iresnet_tf.layers.inputs import as_tensor
from iresnet_tf.models.density import DensityModel, weighted_mean
from iresnet_tf.models.head import ClassifierHead, require_classes, require_whole_batches
from iresnet_tf.models.prior import ConditionalNormal


@keras.saving.register_keras_serializable("iresnet_tf")
class HybridModel(DensityModel):
    """``loss = −λ log p(x) − log p(y | x)`` in nats, from one invertible trunk.

    With a conditional prior the likelihood in the loss is ``p(x | y)``, ``log_prob`` is that
    of ``p(x) = Σ_y p(x | y) / K``, and ``sample`` takes classes.

    Args:
        layers: invertible layers, data side first.
        classes: ``K``, the number of classes.
        likelihood_weight: ``λ ≥ 0``; ``None`` for ``1 / D``.
        prior: ``"learned"``, ``"fixed"`` or ``"conditional"`` (a learned diagonal normal
            for each class).
        dropout: fraction dropped before the last dense layer.
        preprocessing, seed: see `DensityModel`.

    Shapes: ``[batch, …event]``; ``predict`` gives ``log_prob`` ``[batch]`` and ``logits``
    ``[batch, classes]``, by name.

    Raises:
        ValueError: as for `DensityModel` and `Classifier`, or for a negative weight.

    Source: Nalisnick et al. 2019 (arXiv:1902.02767); Chen et al. 2019 (arXiv:1906.02735), §5.3.
    """

    def __init__(
        self,
        layers,
        classes,
        likelihood_weight=None,
        prior="learned",
        dropout=0.0,
        preprocessing=(),
        seed=None,
        **kwargs,
    ):
        if prior == "conditional":
            prior = ConditionalNormal(classes, name="prior", dtype=kwargs.get("dtype"))
        super().__init__(layers, prior, preprocessing, seed, **kwargs)
        if likelihood_weight is not None and not likelihood_weight >= 0.0:
            raise ValueError(
                "likelihood_weight is a number of at least 0, or None for 1/D; received "
                f"{likelihood_weight!r}."
            )
        self.likelihood_weight = likelihood_weight
        self.head = ClassifierHead(classes, dropout, name="head", dtype=self.dtype_policy)

    def _reported(self):
        return (*super()._reported(), "cross_entropy", "accuracy")

    @property
    def classes(self) -> int:
        return self.head.classes

    def build(self, input_shape):
        super().build(input_shape)
        if not self.head.built:
            self.head.build((None, *self.flow._last_latent_shape()))

    def call(self, x):
        x = as_tensor(x, self.compute_dtype)
        return {"log_prob": self.log_prob(x), "logits": self.classify(x)}

    def classify(self, x):
        """Logits of the classes, ``[batch, classes]``."""
        return self.head(self.flow._last_latent(self.encode(x)))

    def sample(self, count, temperature=1.0, seed=None, tolerance=None, labels=None):
        """As `DensityModel.sample`; ``labels`` are classes ``[count]`` for a conditional prior."""
        if labels is None:
            return super().sample(count, temperature, seed, tolerance)
        self._require_sampling(count, temperature)
        if self.prior.kind != "conditional":
            raise ValueError(
                f"Samples of given classes need prior='conditional'; this model's is "
                f"{self.prior.kind!r}. Leave labels out."
            )
        labels = tf.cast(tf.convert_to_tensor(labels), tf.int32)
        if labels.shape != (count,) or not bool(
            tf.reduce_all((labels >= 0) & (labels < self.head.classes))
        ):
            raise ValueError(
                f"labels are {count} classes from 0 to {self.head.classes - 1}; received "
                f"{labels.numpy()!r}."
            )
        return self._sampled(int(count), temperature, seed, tolerance, labels=labels)

    def compile(self, optimizer="adam", jit_compile=False, accumulation_steps=1, **kwargs):
        """As `DensityModel.compile`, but with whole batches.

        Raises:
            ValueError: for ``accumulation_steps`` above 1.
        """
        require_whole_batches(accumulation_steps)
        super().compile(optimizer, jit_compile, **kwargs)

    def fit(self, x=None, y=None, **kwargs):
        """As `DensityModel.fit`, with integer classes ``y`` (or a dataset of pairs)."""
        if y is None and not isinstance(x, tf.data.Dataset):
            raise ValueError(
                "A hybrid model classifies, so it needs the classes of the examples: fit(x, y), "
                "or a dataset of (x, y). Use DensityModel for data without classes."
            )
        if y is not None:
            require_classes(y, self.head.classes)
        return super().fit(x, y, **kwargs)

    def _objective(self, x, y, sample_weight, seed, training):
        if y is None:
            raise ValueError("A hybrid model needs batches of (x, y); received no classes y.")
        y = tf.cast(tf.reshape(y, [-1]), tf.int32)
        latent, log_det = self._latent(x, seed)
        conditional = self.prior.kind == "conditional"
        log_prior = self.prior.log_prob(latent, y) if conditional else self.prior.log_prob(latent)
        logits = self.head(self.flow._last_latent(latent), training=training)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        right = tf.cast(tf.argmax(logits, -1, tf.int32) == y, self.compute_dtype)
        weight = 1.0 / self.dimension if self.likelihood_weight is None else self.likelihood_weight
        loss = weighted_mean(cross_entropy - weight * (log_prior + log_det), sample_weight)
        return loss, {
            "log_prior": log_prior,
            "log_det": log_det,
            "cross_entropy": cross_entropy,
            "accuracy": right,
        }

    def get_config(self):
        return {
            **super().get_config(),
            "classes": self.head.classes,
            "likelihood_weight": self.likelihood_weight,
            "dropout": self.head.rate,
        }
