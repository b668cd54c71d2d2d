"""Classification with an invertible trunk."""

import keras
import tensorflow as tf

from iresnet_tf.models.flow import FlowModel
from iresnet_tf.models.head import ClassifierHead, require_classes, require_whole_batches
from iresnet_tf.numerics.execution import replicas


@keras.saving.register_keras_serializable("iresnet_tf")
class Classifier(FlowModel):
    """``p(y | x) = softmax(H(F(x)))``: a head ``H`` on the latent of an invertible trunk ``F``.

    ``compile(optimizer=…)`` suffices: the loss is the cross-entropy of the logits unless
    another is given.  ``encode`` and ``decode`` are the trunk and its inverse.

    Args:
        layers: invertible layers, data side first; `InjectivePadding` may be among them.
        classes: number of classes.
        dropout: fraction dropped before the last dense layer.
        preprocessing: fixed invertible layers before the others.
        seed: see `FlowModel`.

    Shapes: ``[batch, …event] → [batch, classes]``, logits.

    Raises:
        ValueError: for layers that are not invertible, fewer than two classes, or a
            dropout outside [0, 1).

    Source: Behrmann et al. 2019 (arXiv:1811.00995), §4.1.
    """

    def __init__(self, layers, classes, dropout=0.0, preprocessing=(), seed=None, **kwargs):
        super().__init__(layers, preprocessing, seed, **kwargs)
        self.head = ClassifierHead(classes, dropout, name="head", dtype=self.dtype_policy)

    @property
    def classes(self) -> int:
        return self.head.classes

    def build(self, input_shape):
        super().build(input_shape)
        if not self.head.built:
            self.head.build((None, *self.flow._last_latent_shape()))

    def compile(self, optimizer="adam", loss=None, metrics=None, accumulation_steps=1, **kwargs):
        """As `keras.Model.compile`; integer labels, cross-entropy and accuracy by default.

        Raises:
            ValueError: for ``accumulation_steps`` above 1: it takes whole batches.
        """
        require_whole_batches(accumulation_steps)
        kwargs = {"jit_compile": False, **kwargs}
        loss = keras.losses.SparseCategoricalCrossentropy(True) if loss is None else loss
        metrics = ["accuracy"] if metrics is None else metrics
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def fit(self, x=None, y=None, **kwargs):
        """As `FlowModel.fit`, with classes ``y`` (or a dataset of pairs).

        Raises:
            ValueError: as there, without classes, or for classes that there are not.
        """
        if y is None and hasattr(x, "shape"):
            raise ValueError(
                "A classifier is fitted to examples and their classes: fit(x, y), or a dataset of "
                "(x, y); received no classes."
            )
        loss = getattr(self, "loss", None)
        if y is not None and isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
            if loss.ignore_class is None:
                require_classes(y, self.head.classes)
        return super().fit(x, y, **kwargs)

    def call(self, x, training=False):
        return self.head(self.flow._last_latent(self.flow(x, training=training)), training=training)

    def classify(self, x):
        """Logits of the classes, ``[batch, classes]``."""
        return self.head(self.flow._last_latent(self.encode(x)))

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        share = replicas.global_weight_share(tf.cast(tf.shape(x)[0], self.compute_dtype))
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            # Keras divides it by the number of replicas, as if they had equal batches.
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            loss *= tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss * tf.cast(share, loss.dtype))
        self._descend(tape.gradient(scaled, self.trainable_variables))
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(loss, sample_weight=tf.shape(x)[0])
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data):
        results = super().test_step(data)
        del results["max_gradient"]
        return results

    def get_config(self):
        head = {"classes": self.head.classes, "dropout": self.head.rate}
        return {**super().get_config(), **head}
