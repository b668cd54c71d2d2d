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

from iresnet_tf.numerics.linear_operators import Convolution, Dense, UnrolledConvolution

TERMS = 2
"""``n``: more took as many evaluations, or more, at all blocks that were tried."""

LARGEST_MATRIX = 64
"""Elements of a sample, at most, for which ``A`` is a matrix: as many products make it."""

REACH = 2
"""How many pixels away a convolution ``A`` sees; what is beyond is left out."""


def at_origin(g, event_shape, dtype):
    """``r ↦ P r`` for ``r [batch, height, width, channels]``; ``None`` where there is none.

    There is none of samples that are no images, where a Jacobian says little of another; nor
    of a large ``g`` with convolutions unrolled for one grid.

    Args:
        g: map of `iresnet_tf.numerics.linearization`, the same one for all samples.
        event_shape: of a sample, static.
        dtype: of a sample.
    """
    if event_shape.rank != 3:
        return None
    if event_shape.num_elements() <= LARGEST_MATRIX:
        matrix = _matrix(g, event_shape, dtype)
        flat = [-1, event_shape.num_elements()]
        return lambda r: tf.reshape(_series(matrix, tf.reshape(r, flat)), tf.shape(r))
    if _is_bound_to_a_grid(g):
        return None
    return functools.partial(_series, _convolution(g, event_shape[-1], dtype))


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
    side = 2 * REACH + 1
    middle = tf.one_hot(REACH * (side + 1), side**2, dtype=dtype)
    units = tf.tensordot(tf.eye(channels, dtype=dtype), middle, 0)
    units = tf.reshape(tf.transpose(units, [0, 2, 1]), [channels, 1, side, side, channels])
    images = tf.reshape(_images(g, units), [channels, side, side, channels])
    # A convolution reads, at each pixel, what the pixels around it send there.
    return Convolution(tf.transpose(tf.reverse(images, [1, 2]), [1, 2, 0, 3]))


def _images(g, units):
    """``J(0) v`` of vectors ``[count, 1, …]``."""
    return g.linearize(tf.zeros(units.shape[1:], units.dtype)).jvp(units)


def _is_bound_to_a_grid(g):
    is_here = isinstance(g, UnrolledConvolution)
    return is_here or isinstance(g, tuple) and any(map(_is_bound_to_a_grid, g))
