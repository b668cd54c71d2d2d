"""Turns latents into class scores, and checks the data of a classifier."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import replicas
from iresnet_tf.numerics.options import require_integer


@keras.saving.register_keras_serializable("iresnet_tf")
class ClassifierHead(keras.layers.Layer):
    """Batch norm → ReLU → mean over the pixels → dropout → dense.

    The batch statistics are those of the whole batch, over all replicas.

    Args:
        classes: number of classes.
        dropout: fraction of the features dropped before the dense layer.
        pooling: whether the pixels are averaged.  If not, each pixel has its own dense weights,
            which is better for a trunk that mixes all pixels, because averages of its few channels
            carry little.

    Shapes: ``[batch, …, channels] → [batch, classes]``, logits.

    Raises:
        ValueError: for fewer than two classes, or a dropout outside [0, 1).

    Source: Behrmann et al. 2019 (arXiv:1811.00995), §4.1.
    """

    def __init__(
        self, classes: int, dropout: float = 0.0, pooling: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.classes = require_integer("classes", classes, least=2)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout is a fraction in [0, 1); received {dropout!r}.")
        self.rate, self.pooling = float(dropout), bool(pooling)
        self.norm = keras.layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, synchronized=True, dtype=self.dtype_policy
        )
        self.dense = keras.layers.Dense(classes, dtype=self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        self.norm.build(input_shape)
        features = input_shape[-1:] if self.pooling else input_shape[1:]
        self.dense.build((None, math.prod(features)))
        # Keras's dropout does not save its state; with this one, a resumed run draws the same
        # numbers as a run that was not interrupted.
        self.seed_state = self.add_weight(
            name="seed_state",
            shape=(2,),
            dtype="int32",
            initializer=random.new_state,
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, z: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = tf.nn.relu(self.norm(z, training=training))
        if self.pooling:
            features = tf.reduce_mean(features, axis=list(range(1, z.shape.rank - 1)))
        else:
            features = tf.reshape(features, [-1, math.prod(z.shape[1:])])
        if training and self.rate:
            seed = replicas.placed_seed(tf.identity(self.seed_state.value), tf.shape(z)[0])
            self.seed_state.assign_add([0, 1])
            kept = random.uniform(tf.shape(features), seed, features.dtype) >= self.rate
            features = tf.where(kept, features / (1.0 - self.rate), 0.0)
        return self.dense(features)

    def get_config(self) -> dict[str, Any]:
        options = {"classes": self.classes, "dropout": self.rate, "pooling": self.pooling}
        return {**super().get_config(), **options}


def require_classes(y: np.ndarray | tf.Tensor, classes: int) -> None:
    """Raises `ValueError` for targets that are not one number for each example, 0, …, classes − 1.

    Numbers that are no integers are accepted, whatever their value.
    """
    require_class_shape(y)
    y = np.asarray(y)
    if y.dtype.kind in "iu" and y.size and not (y.min() >= 0 and y.max() < classes):
        raise ValueError(
            f"The classes are integers from 0 to {classes - 1}; received some from {y.min()} to "
            f"{y.max()}. Number them from 0, or build the model for that number of classes."
        )


def require_class_shape(y: np.ndarray | tf.Tensor) -> None:
    """Raises `ValueError` unless the shape of the classes is ``[batch]`` or ``[batch, 1]``."""
    shape = tf.TensorShape(getattr(y, "shape", None))
    if shape.rank is not None and shape[1:].num_elements() not in (None, 1):
        raise ValueError(
            f"The classes are one integer for each example, [batch]; received shape {shape}. "
            "Convert one-hot vectors: np.argmax(y, -1)."
        )


def require_whole_batches(accumulation_steps: int) -> None:
    """Raises `ValueError` for ``accumulation_steps`` other than 1: the head needs whole batches."""
    if accumulation_steps != 1:
        raise ValueError(
            "The head of a classifier or hybrid model normalises by the statistics of the whole "
            f"batch, so a batch is not divided; received accumulation_steps="
            f"{accumulation_steps!r}. To save memory, build the blocks with recompute=True, or "
            "train a DensityModel or ConditionalDensityModel."
        )
