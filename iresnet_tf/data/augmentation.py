"""Shifts, crops and flips images at random, as a seed decides."""

import tensorflow as tf

PADDING = {"shift": 2, "crop": 4}
"""How many pixels are added on each side, by the kind of change."""


def augment(images: tf.Tensor, name: str, *, seed: int, first: int | tf.Tensor) -> tf.Tensor:
    """Mirrors each image with probability 1/2, and crops it at random from its padded image.

    The padding continues the image symmetrically, by 2 pixels on each side for a shift, else by 4.

    Args:
        images: ``[batch, height, width, channels]``.
        name: ``"flip"``, ``"shift"``, ``"crop"`` or ``"crop-flip"``.
        seed: integer.
        first: index of the first image among all images of the run.  Only the seed and the index
            of an image decide how it is changed.

    Returns:
        images of the same shape and dtype.
    """
    height, width = images.shape[1:3]
    padding = max((PADDING[kind] for kind in PADDING if kind in name), default=0)
    indices = tf.cast(first, tf.int32) + tf.range(tf.shape(images)[0])

    def draw(index):
        key = tf.random.fold_in(tf.constant([seed, 0], tf.int32), index)
        top_left = tf.random.stateless_uniform([2], key, 0, 2 * padding + 1, tf.int32)
        return tf.concat([top_left, tf.random.stateless_uniform([1], key, 0, 2, tf.int32)], 0)

    drawn = tf.map_fn(draw, indices)
    if padding:
        sides = [padding, padding]
        padded = tf.pad(images, [[0, 0], sides, sides, [0, 0]], "SYMMETRIC")
        rows = drawn[:, :1] + tf.range(height)
        columns = drawn[:, 1:2] + tf.range(width)
        images = tf.gather(tf.gather(padded, rows, batch_dims=1), columns, axis=2, batch_dims=1)
    if "flip" in name:
        mirrored = tf.cast(drawn[:, 2], tf.bool)[:, None, None, None]
        images = tf.where(mirrored, tf.reverse(images, [2]), images)
    return images
