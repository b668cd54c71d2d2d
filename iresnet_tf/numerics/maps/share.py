"""The samples of a batch at which a map is linearized: all of them, or a random share.

A share stands for the whole batch in an unbiased sum.
"""

from typing import NamedTuple

import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.axes import SelectedRows
from iresnet_tf.numerics.maps.base import Linearization, Map


class AllSamples:
    """Every sample of a batch.

    Attributes:
        seed: stateless seed of the draws for the samples.
    """

    def __init__(self, seed: tf.Tensor) -> None:
        self.seed = seed

    def linearize(self, g: Map, x: tf.Tensor) -> tuple[tf.Tensor, Linearization]:
        """Returns ``g(x)`` and the linearization of ``g`` at ``x``."""
        linearization = g.linearize(x)
        return linearization.value, linearization

    def weighted(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the numbers ``[batch]`` of the samples unchanged."""
        return values


class FirstRows(NamedTuple):
    """The first rows of a batch."""

    size: int | tf.Tensor

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the first rows of ``[batch, …]``."""

        # TensorFlow's own gradient of a slice takes several times as long.
        @tf.custom_gradient
        def first(rows):
            def gradient(cotangent):
                behind = tf.shape(rows)[0] - self.size
                paddings = [[0, behind], *[[0, 0]] * (rows.shape.rank - 1)]
                return tf.pad(cotangent, paddings)

            return rows[: self.size], gradient

        return first(rows)


class Share:
    """``k = max(1, round(s B))`` of ``B`` samples, consecutive on a circle from a random start.

    Every sample is chosen with the probability ``k/B``, so the sum over the chosen samples, times
    ``B/k``, has the sum over all of them as its expectation.

    Args:
        share: ``s``, in (0, 1].
        batch: ``B``, an integer or a scalar tensor.
        seed: stateless seed; the place of its examples in a larger batch has no effect on the
            choice.

    Attributes:
        seed: stateless seed of the draws for the chosen samples.  The place of a sample among the
            chosen ones decides its numbers.
        order: the rows of the batch in an order that begins with the chosen samples.
        chosen: the rows of the chosen samples among those of a batch in this order.
    """

    def __init__(self, share: float, batch: int | tf.Tensor, seed: tf.Tensor) -> None:
        self._batch = batch
        self.seed = random.fold_in(seed, 1)
        if isinstance(batch, int):
            # Sizes that are known stay known.
            self._count = max(1, round(share * batch))
        else:
            rounded = tf.cast(tf.round(share * tf.cast(batch, tf.float64)), tf.int32)
            self._count = tf.maximum(1, rounded)
        place = random.uniform([], random.unplaced(random.fold_in(seed, 0)), tf.float64)
        shift = tf.cast(tf.floor(place * tf.cast(batch, tf.float64)), tf.int32)
        self.order = SelectedRows(tf.math.floormod(tf.range(batch) + shift, batch))
        self._places = tf.math.floormod(tf.range(batch) - shift, batch)
        self.chosen = FirstRows(self._count)

    def linearize(self, g: Map, x: tf.Tensor) -> tuple[tf.Tensor, Linearization]:
        """Returns ``g(x)`` and the linearization of ``g`` at the chosen samples."""
        ordered = g.at_rows(self.order)
        value, linearization = ordered.linearize_at(self.ordered(x), self.chosen)
        return self.restored(value), linearization

    def ordered(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the rows ``[batch, …]`` in the order that begins with the chosen samples."""
        return _permuted(rows, self.order.index, self._places)

    def restored(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows, which `ordered` has ordered, in the order of the batch."""
        return _permuted(rows, self._places, self.order.index)

    def weighted(self, values: tf.Tensor) -> tf.Tensor:
        """Returns ``B/k`` times the numbers of the chosen samples, ``[k]``, and 0 of the others.

        They are in the order of the batch.
        """
        weight = tf.cast(self._batch, values.dtype) / tf.cast(self._count, values.dtype)
        return self.restored(tf.pad(weight * values, [[0, self._batch - self._count]]))


def samples_of_share(share: float, x: tf.Tensor, seed: tf.Tensor) -> AllSamples | Share:
    """Returns `Share` of the samples of ``x [batch, …]``, or `AllSamples` for a share of 1."""
    if share == 1.0:
        return AllSamples(seed)
    return Share(share, x.shape[0] or tf.shape(x)[0], seed)


def _permuted(rows, order, inverse):
    # TensorFlow's own gradient adds up rows, because an index might occur twice.
    @tf.custom_gradient
    def permuted(rows):
        return tf.gather(rows, order), lambda cotangent: _permuted(cotangent, inverse, order)

    return permuted(rows)
