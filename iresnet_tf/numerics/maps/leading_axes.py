"""Leading axes: some of a batch's rows; ``[probes, batch, …]`` as one batch axis and back."""

import tensorflow as tf


def rows_or_one(rows, index):
    """Those rows of ``[batch, …]``, or of ``[1, …]`` for all samples alike."""
    return tf.gather(rows, tf.minimum(index, tf.shape(rows)[0] - 1))


def as_batch(v, event_ndims):
    """``[…, …event] → [batch, …event]``; the shape of an event must be known."""
    if v.shape.rank == event_ndims + 1:
        return v
    return tf.reshape(v, [-1, *v.shape[-event_ndims:]])


def with_leading_axes_of(image, like, event_ndims):
    """``[batch, …event']`` with the leading axes of ``like``, ``[…, …event]``."""
    leading = like.shape[: like.shape.rank - event_ndims].as_list()
    if len(leading) == 1:
        return image
    event = image.shape[1:]
    if leading.count(None) <= 1:
        return tf.reshape(image, [*(-1 if size is None else size for size in leading), *event])
    dynamic = tf.concat([tf.shape(like)[: len(leading)], event], 0)
    return tf.ensure_shape(tf.reshape(image, dynamic), [*leading, *event])
