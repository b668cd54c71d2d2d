"""What turns latents into class scores."""

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.inputs import random_seed
from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import replicas


@keras.saving.register_keras_serializable("iresnet_tf")
class ClassifierHead(keras.layers.Layer):
    """Batch norm → ReLU → mean over the pixels → dropout → dense.

    Batch statistics are those of the whole batch, over all replicas.

    Args:
        classes: number of classes.
        dropout: fraction dropped before the dense layer.

    Shapes: ``[batch, …, channels] → [batch, classes]``, logits.

    Raises:
        ValueError: for fewer than two classes, or a dropout outside [0, 1).

    Source: Behrmann et al. 2019 (arXiv:1811.00995), §4.1.
    """

    def __init__(self, classes, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if classes != int(classes) or classes < 2:
            raise ValueError(f"classes is an integer of at least 2; received {classes!r}.")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout is a fraction in [0, 1); received {dropout!r}.")
        self.classes, self.rate = int(classes), float(dropout)
        self.norm = keras.layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, synchronized=True, dtype=self.dtype_policy
        )
        self.dense = keras.layers.Dense(classes, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.dense.build((None, input_shape[-1]))
        # Saved, unlike the state of Keras's own dropout: a resumed run draws what it would have.
        self.seed_state = self.add_weight(
            name="seed_state",
            shape=(2,),
            dtype="int32",
            initializer=random_seed,
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, z, training=False):
        features = tf.nn.relu(self.norm(z, training=training))
        features = tf.reduce_mean(features, axis=list(range(1, z.shape.rank - 1)))
        if training and self.rate:
            seed = replicas.placed_seed(tf.identity(self.seed_state.value), tf.shape(z)[0])
            self.seed_state.assign_add([0, 1])
            kept = random.uniform(tf.shape(features), seed, features.dtype) >= self.rate
            features = tf.where(kept, features / (1.0 - self.rate), 0.0)
        return self.dense(features)

    def get_config(self):
        return {**super().get_config(), "classes": self.classes, "dropout": self.rate}


def require_classes(y, classes):
    """Refuses integer classes out of range, where ``y`` is an array or tensor of them."""
    y = np.asarray(y)
    if y.dtype.kind in "iu" and y.size and not (y.min() >= 0 and y.max() < classes):
        raise ValueError(
            f"The classes are integers from 0 to {classes - 1}; received some from {y.min()} to "
            f"{y.max()}. Number them from 0, or build the model for as many classes as there are."
        )


def require_whole_batches(accumulation_steps):
    """Refuses the parts of a batch, whose statistics are not those by which the head normalises."""
    if accumulation_steps != 1:
        raise ValueError(
            "The head of a classifier or hybrid model normalises by the statistics of the whole "
            f"batch, so it is not trained in parts; received accumulation_steps="
            f"{accumulation_steps!r}. DensityModel and ConditionalDensityModel are; to save memory "
            "here, build the blocks with recompute=True."
        )
