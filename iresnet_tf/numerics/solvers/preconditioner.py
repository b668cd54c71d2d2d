"""An approximate inverse of ``I + J``, one for all points, by which images are inverted faster.

    P = Σ_{k=0}^{n} (−A)^k ≈ (I + J)⁻¹,   A ≈ J(0)

``A`` is the Jacobian of ``g`` at the origin as one operator on the samples themselves: a
matrix where they are short, else one convolution.  Between channels as few as theirs it takes
a fraction of the time of ``g``, which has many more inside.  A trained ``J`` differs little
from image to image, so that ``P (I + J)`` is much nearer to the identity than ``I + J`` is.

Source: Dubois, Greenbaum and Rodrigue 1979 (Computing 22, 257–268), the truncated series.
"""

import functools

import tensorflow as tf

from iresnet_tf.numerics.maps.linearization import Affine
from iresnet_tf.numerics.maps.operators import Convolution, Dense, UnrolledConvolution

TERMS = 2
"""``n``: in the mean over the blocks that were tried, four and eight took no fewer evaluations."""

LARGEST_SHARE = 2.0 / 3.0
"""What ``P`` may cost of an evaluation of ``g``, in multiplications: it saves two in five."""

LARGEST_MATRIX = 64
"""Elements of a sample, at most, for which ``A`` is a matrix: as many products make it."""

SIDE, CANVAS = 3, 5
"""Pixels of the convolution ``A``, whose rim adds little, and of the image that it is read off."""


def at_origin(g, event_shape, dtype):
    """``r ↦ P r`` for ``r [batch, height, width, channels]``; ``None`` where there is none.

    There is none of samples that are no images, whose Jacobians differ more from point to
    point; but for short ones, of images under three pixels high or wide and of a ``g`` with
    convolutions unrolled for its grid; nor where it would cost more than it saves.

    Args:
        g: map of this package's layers, the same one for all samples.
        event_shape: of a sample, static.
        dtype: of a sample.
    """
    if event_shape.rank != 3:
        return None
    height, width, channels = event_shape
    size = height * width * channels
    available = LARGEST_SHARE * _multiplications(g, height * width) / TERMS
    if size <= LARGEST_MATRIX and size**2 <= available:
        matrix = _matrix(g, event_shape, dtype)
        return lambda r: tf.reshape(_series(matrix, tf.reshape(r, [-1, size])), tf.shape(r))
    if (
        min(height, width) < SIDE
        or _is_bound_to_a_grid(g)
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
    """``A`` on flattened samples: the image of every unit vector."""
    size = event_shape.num_elements()
    units = tf.reshape(tf.eye(size, dtype=dtype), [size, 1, *event_shape])
    return Dense(tf.reshape(_images(g, units), [size, size]))


def _convolution(g, channels, dtype):
    """``A`` from what a unit in the middle of an image does to the pixels around it."""
    middle = tf.one_hot(CANVAS**2 // 2, CANVAS**2, dtype=dtype)
    units = tf.tensordot(tf.eye(channels, dtype=dtype), middle, 0)
    units = tf.reshape(tf.transpose(units, [0, 2, 1]), [channels, 1, CANVAS, CANVAS, channels])
    images = tf.reshape(_images(g, units), [channels, CANVAS, CANVAS, channels])
    rim = (CANVAS - SIDE) // 2
    images = images[:, rim:-rim, rim:-rim]
    # A convolution reads, at each pixel, what the pixels around it send there.
    return Convolution(tf.transpose(tf.reverse(images, [1, 2]), [1, 2, 0, 3]))


def _images(g, units):
    """``J(0) v`` of vectors ``[count, 1, …]``."""
    return g.linearize(tf.zeros(units.shape[1:], units.dtype)).jvp(units)


def _is_bound_to_a_grid(g):
    is_here = isinstance(g, UnrolledConvolution)
    return is_here or isinstance(g, tuple) and any(map(_is_bound_to_a_grid, g))


def _multiplications(g, pixels):
    """Of one evaluation of ``g`` at an image."""
    if isinstance(g, Affine):
        is_whole = isinstance(g.operator, UnrolledConvolution)
        return g.operator.kernel.shape.num_elements() * (1 if is_whole else pixels)
    return sum(_multiplications(each, pixels) for each in g) if isinstance(g, tuple) else 0
