"""The axes of a batch: those of one sample, and any number of leading ones."""

from typing import NamedTuple

import tensorflow as tf


def event_axes(x: tf.Tensor) -> list[int]:
    """Returns the axes of one sample of ``x [batch, …event]``."""
    return list(range(1, x.shape.rank))


def batch_shape(x: tf.Tensor) -> list[int] | tf.Tensor:
    """Returns ``[batch]`` of ``x [batch, …event]``: numbers, if the size is static."""
    return tf.shape(x)[:1] if x.shape[0] is None else [x.shape[0]]


def event_norm(x: tf.Tensor) -> tf.Tensor:
    """Returns ``‖x‖₂`` of each sample: ``[batch, …event] → [batch]``."""
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=event_axes(x)))


def dimension_of(x: tf.Tensor) -> int:
    """Returns the number of elements of one sample of ``x [batch, …event]``.

    Raises:
        ValueError: if the shape of a sample is not known.
    """
    event = x.shape[1:]
    if not event.is_fully_defined():
        raise ValueError(
            f"Every axis of a sample must be known; received {x.shape}. Set the shape, for example "
            "with tf.ensure_shape."
        )
    return event.num_elements()


def rows_or_one(rows: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Returns ``rows[index]``; rows ``[1, …]`` stand for a batch of equal ones."""
    return tf.gather(rows, tf.minimum(index, tf.shape(rows)[0] - 1))


class SelectedRows(NamedTuple):
    """The samples of a batch with the given indices."""

    index: tf.Tensor

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns these samples' rows of ``[batch, …]``, or of ``[1, …]`` for all alike."""
        return rows_or_one(rows, self.index)


def as_batch(v: tf.Tensor, event_ndims: int) -> tf.Tensor:
    """Returns ``[…, …event]`` as ``[batch, …event]``; the shape of an event must be known."""
    if v.shape.rank == event_ndims + 1:
        return v
    return tf.reshape(v, [-1, *v.shape[-event_ndims:]])


def with_leading_axes_of(image: tf.Tensor, like: tf.Tensor, event_ndims: int) -> tf.Tensor:
    """Returns ``[batch, …event']`` with the leading axes of ``like [… , …event]``."""
    leading = like.shape[: like.shape.rank - event_ndims].as_list()
    if len(leading) == 1:
        return image
    event = image.shape[1:]
    if leading.count(None) <= 1:
        return tf.reshape(image, [*(-1 if size is None else size for size in leading), *event])
    dynamic = tf.concat([tf.shape(like)[: len(leading)], event], 0)
    return tf.ensure_shape(tf.reshape(image, dynamic), [*leading, *event])
