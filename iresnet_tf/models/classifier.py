"""Classifies by a head on the latent of an invertible network."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.internals import micro_steps
from iresnet_tf.layers.economy import Economy, economical
from iresnet_tf.models import inputs
from iresnet_tf.models.classifying import ClassifyingModel
from iresnet_tf.models.head import require_whole_batches
from iresnet_tf.models.inference_mode import require_called_layers
from iresnet_tf.numerics.execution import replicas


@keras.saving.register_keras_serializable("iresnet_tf")
class Classifier(ClassifyingModel):
    """``p(y | x) = softmax(H(F(x)))``: a head ``H`` on the latent of an invertible trunk ``F``.

    The methods ``encode`` and ``decode`` are ``F`` and its inverse.  ``fit`` takes integer classes
    ``y``, or batches of pairs.

    Args:
        layers: invertible layers, data side first, possibly with an `InjectivePadding`.
        classes: number of classes.
        dropout: fraction of the features dropped before the dense layer of the head.
        pooling: whether the head averages the pixels; see `ClassifierHead`.
        preprocessing, seed: see `FlowModel`.

    Shapes: ``[batch, …event] → [batch, classes]``, logits.

    Raises:
        ValueError: for layers that are not invertible, fewer than two classes, or a
            dropout outside [0, 1); in ``fit``, without classes or for classes out of range.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), §4.1.
    """

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "adam",
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
        accumulation_steps: int = 1,
        product_dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Compiles like `keras.Model.compile`, by default with cross-entropy and accuracy.

        Args:
            optimizer, loss, metrics, **kwargs: options of `keras.Model.compile`.
            accumulation_steps: 1.
            product_dtype: see `DensityModel.compile`.

        Raises:
            ValueError: for ``accumulation_steps`` above 1, because the head needs whole batches;
                for another dtype, or a ``product_dtype`` if the model computes in float64.
        """
        economy = Economy(product_dtype=product_dtype)
        require_whole_batches(accumulation_steps)
        kwargs = {"jit_compile": False, **kwargs}
        loss = keras.losses.SparseCategoricalCrossentropy(True) if loss is None else loss
        metrics = ["accuracy"] if metrics is None else metrics
        super().compile(optimizer, economy=economy, loss=loss, metrics=metrics, **kwargs)

    def _require_targets(self, y):
        loss = getattr(self, "loss", None)
        if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
            if loss.ignore_class is None:
                super()._require_targets(y)

    def make_train_function(self, force: bool = False) -> None:
        require_called_layers(self.flow)
        super().make_train_function(force)

    @property
    def losses(self) -> list[tf.Tensor]:
        """The regularizers of the weights, in the dtype to which Keras casts a loss."""
        return [tf.cast(loss, keras.config.floatx()) for loss in super().losses]

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.head(self.flow._last_latent(self.flow(x, training=training)), training=training)

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = inputs.require_examples(x)
        seed = tf.stack([self.noise_seed, micro_steps(self.optimizer)])
        share = replicas.global_weight_share(tf.cast(tf.shape(x)[0], self.compute_dtype))
        with tf.GradientTape() as tape:
            with economical(self.economy, seed):
                y_pred = self(x, training=True)
            # Keras divides the loss by the number of replicas, as if their batches were equal.
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            loss *= tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss * tf.cast(share, loss.dtype))
        gradients = tape.gradient(scaled, self.trainable_variables)
        with economical(self.economy, seed):
            self._descend(gradients)
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(loss, sample_weight=tf.shape(x)[0])
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: tuple) -> dict[str, tf.Tensor]:
        results = super().test_step(data)
        del results["max_gradient"]
        return results
