"""A random share of a batch, which stands for the whole batch in an unbiased sum."""

from typing import NamedTuple

import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.axes import rows_or_one


class Rows(NamedTuple):
    """The rows of a batch with the given indices."""

    index: tf.Tensor

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the chosen rows of ``[batch, …]``, or of ``[1, …]`` for all samples alike."""
        return rows_or_one(rows, self.index)


class Share:
    """``k = max(1, round(s B))`` of ``B`` samples, consecutive on a circle from a random start.

    Every sample is chosen with the probability ``k/B``, so the sum over the chosen samples, times
    ``B/k``, has the sum over all of them as its expectation.

    Args:
        share: ``s``, in (0, 1].
        batch: ``B``, an integer or a scalar tensor.
        seed: stateless seed; the place of its examples in a larger batch has no effect.

    Attributes:
        chosen: `Rows` of the chosen samples.
        others: `Rows` of the other samples.  If there are none, it is one that is chosen too,
            because TensorFlow's convolutions refuse an empty batch.
    """

    def __init__(self, share: float, batch: int | tf.Tensor, seed: tf.Tensor) -> None:
        self._batch = batch
        if isinstance(batch, int):
            # Sizes that are known stay known.
            self._count = max(1, round(share * batch))
            self._start = min(self._count, batch - 1)
        else:
            rounded = tf.cast(tf.round(share * tf.cast(batch, tf.float64)), tf.int32)
            self._count = tf.maximum(1, rounded)
            self._start = tf.minimum(self._count, batch - 1)
        place = random.uniform([], random.unplaced(seed), tf.float64)
        shift = tf.cast(tf.floor(place * tf.cast(batch, tf.float64)), tf.int32)
        self._order = tf.math.floormod(tf.range(batch) + shift, batch)
        self._places = tf.math.floormod(tf.range(batch) - shift, batch)
        self.chosen = Rows(self._order[: self._count])
        self.others = Rows(self._order[self._start :])

    def split(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the rows ``[batch, …]`` of the chosen and of the other samples."""

        # TensorFlow's own gradients of slices and of indexing take several times as long.
        @tf.custom_gradient
        def divided(rows):
            return self._divided(rows), self._united

        return divided(rows)

    def joined(self, chosen: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """Returns the rows of both, which `split` has divided, in the order of the batch."""

        @tf.custom_gradient
        def united(chosen, others):
            def gradient(cotangent):
                of_chosen, of_others = self._divided(cotangent)
                # Rows that are chosen, too, have been dropped.
                kept = tf.cast(tf.less_equal(self._count, self._start), of_others.dtype)
                return of_chosen, kept * of_others

            return self._united(chosen, others), gradient

        return united(chosen, others)

    def _divided(self, rows):
        ordered = tf.gather(rows, self._order)
        return ordered[: self._count], ordered[self._start :]

    def _united(self, chosen, others):
        return tf.gather(tf.concat([chosen, others], 0), self._places)

    def weighted(self, values: tf.Tensor) -> tf.Tensor:
        """Returns ``B/k`` times the numbers of the chosen samples, ``[k]``, and 0 of the others."""
        weight = tf.cast(self._batch, values.dtype) / tf.cast(self._count, values.dtype)
        others = tf.zeros(tf.shape(self.others.index), values.dtype)
        return self.joined(weight * values, others)
