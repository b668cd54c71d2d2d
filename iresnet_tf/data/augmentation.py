"""Random crops and flips of images, which the seeds decide."""

import tensorflow as tf

PADDING = 4


def augment(images: tf.Tensor, name: str, *, seed: int, first: int | tf.Tensor) -> tf.Tensor:
    """Mirrors each image or not, and crops it at random from its symmetric padding by 4 pixels.

    Args:
        images: ``[batch, height, width, channels]``.
        name: ``"flip"``, ``"crop"`` or ``"crop-flip"``.
        seed: integer.
        first: index of the first image among all images that the run sees.  The draw of an image
            depends only on the seed and its index.

    Returns:
        images of the same shape and dtype.
    """
    height, width = images.shape[1:3]
    indices = tf.cast(first, tf.int32) + tf.range(tf.shape(images)[0])

    def draw(index):
        key = tf.random.fold_in(tf.constant([seed, 0], tf.int32), index)
        top_left = tf.random.stateless_uniform([2], key, 0, 2 * PADDING + 1, tf.int32)
        return tf.concat([top_left, tf.random.stateless_uniform([1], key, 0, 2, tf.int32)], 0)

    drawn = tf.map_fn(draw, indices)
    if "crop" in name:
        around = [PADDING, PADDING]
        padded = tf.pad(images, [[0, 0], around, around, [0, 0]], "SYMMETRIC")
        rows = drawn[:, :1] + tf.range(height)
        columns = drawn[:, 1:2] + tf.range(width)
        images = tf.gather(tf.gather(padded, rows, batch_dims=1), columns, axis=2, batch_dims=1)
    if "flip" in name:
        mirrored = tf.cast(drawn[:, 2], tf.bool)[:, None, None, None]
        images = tf.where(mirrored, tf.reverse(images, [2]), images)
    return images
