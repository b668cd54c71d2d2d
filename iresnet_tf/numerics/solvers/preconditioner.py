"""An approximate inverse of ``I + J``, the same at all points, for a faster inverse of images.

    P = Σ_{k=0}^{n} (−A)^k ≈ (I + J)⁻¹,   A ≈ J(0)

``A`` is the Jacobian of ``g`` at the origin as one operator: a matrix for small samples, else one
convolution.  Samples have few channels and hidden layers many, so ``A`` takes a fraction of the
time of ``g``.  In trained blocks ``J`` differs little from image to image, so ``P (I + J)`` is
much closer to the identity than ``I + J``.

Source: Dubois, Greenbaum and Rodrigue 1979 (Computing 22, 257–268), the truncated series.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from iresnet_tf.numerics.maps import Convolution, Dense, Map

TERMS = 2
"""``n``; in experiments ``n = 4`` and ``n = 8`` took as many evaluations on average."""

LARGEST_SHARE = 2.0 / 3.0
"""Largest cost of ``P`` as a share of the multiplications of ``g``; it saves two of five ``g``."""

LARGEST_MATRIX = 64
"""Largest dimension of a sample for which ``A`` is a matrix, computed by as many products."""

SIDE, CANVAS = 3, 5
"""Side of the convolution ``A`` in pixels, and of the image by which it is computed."""


def at_origin(
    g: Map, event_shape: tf.TensorShape, dtype: tf.DType
) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """Returns ``r ↦ P r`` for ``r [batch, height, width, channels]``, or ``None``.

    It returns ``None`` if

    - the samples are no images, because their Jacobians differ more from point to point;
    - ``P`` would cost more than it saves; or
    - ``A`` would be a convolution, and the images are less than three pixels high or wide, or
      ``g`` cannot be evaluated on another grid.

    ``g`` must not vary by sample, and samples must have a static shape.
    """
    if event_shape.rank != 3:
        return None
    height, width, channels = event_shape
    size = height * width * channels
    available = LARGEST_SHARE * g.multiplications(height * width) / TERMS
    if size <= LARGEST_MATRIX and size**2 <= available:
        matrix = _matrix(g, event_shape, dtype)
        return lambda r: tf.reshape(_series(matrix, tf.reshape(r, [-1, size])), tf.shape(r))
    if (
        min(height, width) < SIDE
        or not g.takes_any_grid()
        or height * width * (SIDE * channels) ** 2 > available
    ):
        return None
    return functools.partial(_series, _convolution(g, channels, dtype))


def _series(operator, r):
    image = r
    for _ in range(TERMS):
        image = r - operator(image)
    return image


def _matrix(g, event_shape, dtype):
    """Returns ``A`` on flattened samples, from the images of all unit vectors."""
    size = event_shape.num_elements()
    units = tf.reshape(tf.eye(size, dtype=dtype), [size, 1, *event_shape])
    return Dense(tf.reshape(_images(g, units), [size, size]))


def _convolution(g, channels, dtype):
    """Returns ``A``, from the effect of a unit pixel on those around it."""
    middle = tf.one_hot(CANVAS**2 // 2, CANVAS**2, dtype=dtype)
    units = tf.tensordot(tf.eye(channels, dtype=dtype), middle, 0)
    units = tf.reshape(tf.transpose(units, [0, 2, 1]), [channels, 1, CANVAS, CANVAS, channels])
    images = tf.reshape(_images(g, units), [channels, CANVAS, CANVAS, channels])
    rim = (CANVAS - SIDE) // 2
    images = images[:, rim:-rim, rim:-rim]
    # A kernel tells where a pixel reads, the images tell where it is read: one is reversed.
    return Convolution(tf.transpose(tf.reverse(images, [1, 2]), [1, 2, 0, 3]))


def _images(g, units):
    """Returns ``J(0) v`` for vectors ``v [count, 1, …]``."""
    return g.linearize(tf.zeros(units.shape[1:], units.dtype)).jvp(units)
