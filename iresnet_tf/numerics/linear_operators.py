"""Linear operators with their adjoints, and their leading singular values.

An operator here is a pair ``v ↦ A v`` and ``u ↦ Aᵀ u``, the latter also for vectors of
another dtype, ``adjoint_in(dtype)``.  Everything that needs a spectral norm or a Jacobian
product is written once, against that pair.
Operators act on the trailing axes and leave any leading axes alone, so one
operator serves a batch ``[batch, …]`` and a batch of probes
``[probes, batch, …]`` alike.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.leading_axes import as_batch, with_leading_axes_of
from iresnet_tf.numerics.tracing import traced_once


class Dense(NamedTuple):
    """``A v = v K``: a matrix on the last axis.

    Also the 1×1 convolution, which is the same matrix at every pixel.

    Attributes:
        kernel: tensor ``[in, out]``.
    """

    kernel: tf.Tensor

    def __call__(self, v):
        """``[…, in] → […, out]``."""
        return _matrix_product(v, self.kernel)

    def adjoint(self, u):
        """``[…, out] → […, in]``."""
        return _matrix_product(u, self.kernel, transpose=True)

    def adjoint_in(self, dtype):
        """The adjoint for vectors of a dtype, to be taken many times: transposed once."""
        return Dense(tf.transpose(tf.cast(self.kernel, dtype)))


class Convolution(NamedTuple):
    """``A v = v ⋆ K``: cross-correlation, stride 1, zero padding to the same size.

    Attributes:
        kernel: tensor ``[height, width, in, out]`` of the kernel.
    """

    kernel: tf.Tensor

    def __call__(self, v):
        """``[…, h, w, in] → […, h, w, out]``."""
        image = tf.nn.conv2d(as_batch(v, 3), self.kernel, strides=1, padding="SAME")
        return with_leading_axes_of(image, v, 3)

    def adjoint(self, u):
        """``[…, h, w, out] → […, h, w, in]``."""
        flat = as_batch(u, 3)
        shape = [_size(flat, axis) for axis in range(3)] + [self.kernel.shape[2]]
        image = tf.nn.conv2d_transpose(flat, self.kernel, shape, strides=1, padding="SAME")
        return with_leading_axes_of(image, u, 3)

    def adjoint_in(self, dtype):
        """The adjoint for vectors of a dtype."""
        return self._replace(kernel=tf.cast(self.kernel, dtype)).adjoint


class UnrolledConvolution(NamedTuple):
    """The same operator as one dense matrix between flattened images.

    On a tiny grid most pixels see each other anyway, and one matrix product is
    quicker than a convolution of so little.

    Attributes:
        kernel: the matrix, ``[h·w·in, h·w·out]``.
        grid: ``[h, w]``, static.
    """

    kernel: tf.Tensor
    grid: tuple

    @classmethod
    def from_kernel(cls, kernel, grid):
        """The operator of a convolution kernel ``[kh, kw, in, out]`` on the grid."""
        height, width, features_in, features_out = kernel.shape
        pixels = grid[0] * grid[1]
        taps = _tap_indicator(tuple(grid), (height, width))
        blocks = tf.matmul(
            tf.constant(taps, kernel.dtype), tf.reshape(kernel, [height * width, -1])
        )
        blocks = tf.reshape(blocks, [pixels, pixels, features_in, features_out])
        matrix = tf.reshape(
            tf.transpose(blocks, [0, 2, 1, 3]), [pixels * features_in, pixels * features_out]
        )
        return cls(matrix, tuple(grid))

    def __call__(self, v):
        """``[…, h, w, in] → […, h, w, out]``."""
        return self._apply(v, transpose=False)

    def adjoint(self, u):
        """``[…, h, w, out] → […, h, w, in]``."""
        return self._apply(u, transpose=True)

    def adjoint_in(self, dtype):
        """The adjoint for vectors of a dtype, to be taken many times: transposed once."""
        return self._replace(kernel=tf.transpose(tf.cast(self.kernel, dtype)))

    def _apply(self, v, transpose):
        rows, columns = self.kernel.shape[::-1] if transpose else self.kernel.shape
        pixels = self.grid[0] * self.grid[1]
        flat = tf.matmul(tf.reshape(v, [-1, rows]), self.kernel, transpose_b=transpose)
        image = tf.reshape(flat, [-1, *self.grid, columns // pixels])
        return with_leading_axes_of(image, v, 3)


@functools.cache
def _tap_indicator(grid, size):
    """``[pixels², taps]``: 1 where output pixel ``q`` reads input pixel ``p`` through a tap."""
    positions = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 2)
    # 'SAME' padding: output q reads p = q + tap − ⌊(k − 1)/2⌋.
    taps = positions[:, None] - positions[None] + (np.array(size) - 1) // 2
    inside = np.all((taps >= 0) & (taps < size), axis=-1)
    index = taps[..., 0] * size[1] + taps[..., 1]
    indicator = np.zeros((len(positions) ** 2, size[0] * size[1]))
    indicator[np.flatnonzero(inside), index[inside]] = 1.0
    return indicator


def _matrix_product(v, matrix, transpose=False):
    """One large product whatever the rank: ``tf.matmul`` would batch small ones."""
    flat = tf.matmul(as_batch(v, 1), matrix, transpose_b=transpose)
    return with_leading_axes_of(flat, v, 1)


def _size(v, axis):
    """Of an axis: a number where it is known."""
    return tf.shape(v)[axis] if v.shape[axis] is None else v.shape[axis]


class SingularTriple(NamedTuple):
    """``σ = ⟨u, A v⟩`` with unit ``u`` and ``v``: an estimate from below of ``‖A‖₂``."""

    sigma: tf.Tensor
    u: tf.Tensor
    v: tf.Tensor


def power_step(operator, v):
    """One step of power iteration, ``u ← A v / ‖A v‖``, ``v ← Aᵀ u / ‖Aᵀ u‖``.

    Args:
        operator: the pair ``(A, Aᵀ)``.
        v: right vector, of the operator's input shape.

    Returns:
        `SingularTriple`; its ``sigma`` belongs to the new ``u`` and ``v``.
    """
    u = _normalise(operator(v))
    image = operator.adjoint(u)
    return SingularTriple(tf.norm(image), u, _normalise(image + _TINY * v))


def gram_step(operator, v):
    """``AᵀA v`` with a largest element of 1; ``v`` where it is zero or overflows.

    The direction that a `power_step` ends with, for a few operations: enough for all but the
    last of several steps.
    """
    image = operator.adjoint(operator(v))
    largest = tf.reduce_max(tf.abs(image))
    return tf.where(
        (largest > 0.0) & tf.math.is_finite(largest), tf.math.divide_no_nan(image, largest), v
    )


def power_iteration(operator, v, tolerance=1e-4):
    """Leading singular triple of ``A``, by Lanczos iteration with restarts.

    A basis of the Krylov space of ``AᵀA`` (or of ``AAᵀ``, where that is smaller) is kept
    orthonormal; when it is full, its leading Ritz vectors start the next one.  Nearly equal
    leading singular values cost tens of applications where plain power iteration takes
    thousands.  With the residual ``r = AᵀA v − σ² v`` and the component ``c`` of ``v`` along
    the leading vector, ``‖A‖² − σ² ≤ ‖r‖ / c``: iteration stops at ``‖r‖ ≤ 0.1 · tolerance · σ²``.
    The start is mixed with a fixed pseudo-random direction, so that a vector grown
    orthogonal to the leading one cannot hide it.

    Args:
        operator: the pair ``(A, Aᵀ)``.
        v: start vector, of the operator's input shape; any norm.
        tolerance: relative accuracy asked of ``σ``.

    Returns:
        `SingularTriple`.  A zero operator gives ``σ = 0``.

    Source: Wu and Simon 2000 (doi:10.1137/S0895479898334605), thick restarts; Gouk et
    al. 2018 (arXiv:1804.04368) for the convolution as an operator.
    """
    function = traced_once(_iterate, operator, v)
    return function(operator, v, tf.cast(tolerance, v.dtype))


_BASIS, _KEPT = 24, 6
"""Vectors of a full basis, and those of them that start the next one."""

_MOST_APPLICATIONS = 2000
"""Applications of ``AᵀA`` after which no further basis is begun."""


def _iterate(operator, v, tolerance):
    image = operator(v)
    is_tall = image.shape.num_elements() < v.shape.num_elements()
    first, there, back = v, operator, operator.adjoint
    if is_tall:
        first, there, back = image, operator.adjoint, operator
    shape, epsilon = first.shape, np.finfo(v.dtype.as_numpy_dtype).eps

    def gram(x):
        return tf.reshape(back(there(tf.reshape(x, shape))), [-1])

    def extended(index, basis, images):
        # What one more application adds to the space: to the best vector, then to the newest.
        w = images[tf.where(index == _KEPT, 0, index - 1)]
        length = tf.norm(w)
        for _ in range(2):
            w -= tf.linalg.matvec(basis, tf.linalg.matvec(basis, w), transpose_a=True)
        # What is left of a dependent direction is rounding, and dropped.
        kept = tf.norm(w)
        w *= tf.where(kept > 16.0 * epsilon * length, tf.math.reciprocal_no_nan(kept), 0.0)
        place = [[index]]
        basis = tf.tensor_scatter_nd_update(basis, place, [w])
        return index + 1, basis, tf.tensor_scatter_nd_update(images, place, [gram(w)])

    def body(count, basis, images):
        _, basis, images = tf.while_loop(
            lambda index, *_: index < _BASIS, extended, (tf.constant(_KEPT), basis, images)
        )
        projected = tf.matmul(basis, images, transpose_b=True)
        ritz = tf.linalg.eigh(0.5 * (projected + tf.transpose(projected)))[1]
        leading = tf.reverse(ritz[:, -_KEPT:], [1])
        basis, images = (
            tf.pad(tf.matmul(leading, each, transpose_a=True), [[0, _BASIS - _KEPT], [0, 0]])
            for each in (basis, images)
        )
        return count + _BASIS - _KEPT, basis, images

    # Below this the residual is rounding.
    accuracy = tf.maximum(0.1 * tolerance, 32.0 * epsilon)

    def unfinished(count, basis, images):
        value = tf.reduce_sum(basis[0] * images[0])
        residual = tf.norm(images[0] - value * basis[0])
        return (count < _MOST_APPLICATIONS) & (residual > accuracy * value)

    direction = tf.random.stateless_normal(shape, seed=[1, 2], dtype=v.dtype)
    start = _normalise(tf.reshape(_normalise(first) + 0.1 * _normalise(direction), [-1]))
    rows = tf.one_hot(0, _BASIS, dtype=v.dtype)[:, tf.newaxis]
    vectors = rows * start, rows * gram(start)
    _, basis, _ = tf.while_loop(unfinished, body, (tf.constant(0), *vectors))
    leading = tf.reshape(basis[0], shape)
    if is_tall:
        leading = operator.adjoint(leading) + _TINY * _normalise(v)
    return power_step(operator, leading)


# Leaves any image as it is, but keeps the direction of v where A is zero.
_TINY = 1e-12


def _normalise(v):
    # Scaled first, so that no square underflows.
    scaled = tf.math.divide_no_nan(v, tf.reduce_max(tf.abs(v)))
    return tf.math.divide_no_nan(scaled, tf.norm(scaled))
