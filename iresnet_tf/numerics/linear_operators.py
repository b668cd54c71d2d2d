"""Linear operators with their adjoints, and their leading singular values.

An operator here is a pair ``v ↦ A v`` and ``u ↦ Aᵀ u``.  Everything that needs
a spectral norm or a Jacobian product is written once, against that pair.
Operators act on the trailing axes and leave any leading axes alone, so one
operator serves a batch ``[batch, …]`` and a batch of probes
``[probes, batch, …]`` alike.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf


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


class Convolution(NamedTuple):
    """``A v = v ⋆ K``: cross-correlation, stride 1, zero padding to the same size.

    Attributes:
        kernel: tensor ``[height, width, in, out]`` of the kernel.
    """

    kernel: tf.Tensor

    def __call__(self, v):
        """``[…, h, w, in] → […, h, w, out]``."""
        flat = tf.reshape(v, tf.concat([[-1], tf.shape(v)[-3:]], 0)) if v.shape.rank != 4 else v
        image = tf.nn.conv2d(flat, self.kernel, strides=1, padding="SAME")
        return _restore_leading(image, v, self.kernel.shape[3])

    def adjoint(self, u):
        """``[…, h, w, out] → […, h, w, in]``."""
        flat = tf.reshape(u, tf.concat([[-1], tf.shape(u)[-3:]], 0)) if u.shape.rank != 4 else u
        shape = tf.concat([tf.shape(flat)[:3], [self.kernel.shape[2]]], 0)
        image = tf.nn.conv2d_transpose(flat, self.kernel, shape, strides=1, padding="SAME")
        return _restore_leading(image, u, self.kernel.shape[2])


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

    def _apply(self, v, transpose):
        rows, columns = self.kernel.shape[::-1] if transpose else self.kernel.shape
        pixels = self.grid[0] * self.grid[1]
        flat = tf.matmul(tf.reshape(v, [-1, rows]), self.kernel, transpose_b=transpose)
        shape = tf.concat([tf.shape(v)[:-1], [columns // pixels]], 0)
        return tf.ensure_shape(tf.reshape(flat, shape), v.shape[:-1] + [columns // pixels])


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


def _restore_leading(image, like, channels):
    if like.shape.rank == 4:
        return tf.ensure_shape(image, like.shape[:3] + [channels])
    shape = tf.concat([tf.shape(like)[:-1], [channels]], 0)
    return tf.ensure_shape(tf.reshape(image, shape), like.shape[:-1] + [channels])


def _matrix_product(v, matrix, transpose=False):
    """One large product whatever the rank: ``tf.matmul`` would batch small ones."""
    if v.shape.rank == 2:
        return tf.matmul(v, matrix, transpose_b=transpose)
    features_in, features_out = matrix.shape[::-1] if transpose else matrix.shape
    flat = tf.matmul(tf.reshape(v, [-1, features_in]), matrix, transpose_b=transpose)
    shape = tf.concat([tf.shape(v)[:-1], [features_out]], 0)
    return tf.ensure_shape(tf.reshape(flat, shape), v.shape[:-1] + [features_out])


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


def power_iteration(operator, v, tolerance=1e-4, maximum=2000):
    """Leading singular triple of ``A``, by power iteration with conjugate directions.

    Every step replaces ``v`` by the best combination of itself, of the residual
    ``r = AᵀA v − σ² v`` and of the step before, so nearly equal leading singular
    values cost tens of steps where plain power iteration takes thousands.  If
    ``c`` is the component of ``v`` along the leading vector, then
    ``‖A‖² − σ² ≤ ‖r‖ / c``: iteration stops at ``‖r‖ ≤ 0.1 · tolerance · σ²``.
    The start is mixed with a fixed pseudo-random direction, so that a vector
    grown orthogonal to the leading one cannot hide it.

    Args:
        operator: the pair ``(A, Aᵀ)``.
        v: start vector, of the operator's input shape; any norm.
        tolerance: relative accuracy asked of ``σ``.
        maximum: most iterations.

    Returns:
        `SingularTriple`.  A zero operator gives ``σ = 0``.

    Source: Knyazev 2001 (doi:10.1137/S1064827500366124), with one vector; Gouk et
    al. 2018 (arXiv:1804.04368) for the convolution as an operator.
    """
    signature = operator.kernel.shape, v.shape, v.dtype
    compiled = _compiled(type(operator), *signature)  # type: ignore[arg-type]
    return compiled(operator, v, tf.cast(tolerance, v.dtype), tf.constant(maximum))


@functools.cache
def _compiled(*signature):
    """One traced loop for each kind and shape of operator."""
    del signature
    return tf.function(functools.partial(_iterate), autograph=False)


def _iterate(operator, v, tolerance, maximum):
    shape = tf.shape(v)

    def gram(x):
        return tf.reshape(operator.adjoint(operator(tf.reshape(x, shape))), [-1])

    direction = tf.random.stateless_normal(shape, seed=[1, 2], dtype=v.dtype)
    start = _normalise(tf.reshape(_normalise(v) + 0.1 * _normalise(direction), [-1]))
    # Below this the residual is rounding.
    accuracy = tf.maximum(0.1 * tolerance, 32.0 * np.finfo(v.dtype.as_numpy_dtype).eps)

    def unfinished(step, v, image, *_):
        value = _dot(v, image)
        return (step < maximum) & (tf.norm(image - value * v) > accuracy * value)

    def body(step, v, image, last, last_image):
        r = image - _dot(v, image) * v
        r = _normalise(r - _dot(r, v) * v)
        r_image = gram(r)
        of_v, of_r = _dot(last, v), _dot(last, r)
        length = tf.norm(last)
        last = last - of_v * v - of_r * r
        last_image = last_image - of_v * image - of_r * r_image
        # What rounding has left of a dependent direction is dropped.
        kept = tf.norm(last)
        scale = tf.where(kept > 1e-3 * length, tf.math.reciprocal_no_nan(kept), 0.0)
        basis = tf.stack([v, r, scale * last])
        images = tf.stack([image, r_image, scale * last_image])
        projected = tf.matmul(basis, images, transpose_b=True)
        best = tf.linalg.eigh(0.5 * (projected + tf.transpose(projected)))[1][:, -1:]
        change = best * tf.constant([[0.0], [1.0], [1.0]], v.dtype)
        new, new_image = (tf.reduce_sum(best * each, 0) for each in (basis, images))
        step_taken, step_image = (tf.reduce_sum(change * each, 0) for each in (basis, images))
        return step + 1, new, new_image, step_taken, step_image

    zero = tf.zeros_like(start)
    _, leading, *_ = tf.while_loop(
        unfinished, body, (tf.constant(0), start, gram(start), zero, zero)
    )
    return power_step(operator, tf.reshape(leading, shape))


def _dot(a, b):
    return tf.reduce_sum(a * b)


# Leaves any image as it is, but keeps the direction of v where A is zero.
_TINY = 1e-12


def _normalise(v):
    # Scaled first, so that no square underflows.
    scaled = tf.math.divide_no_nan(v, tf.reduce_max(tf.abs(v)))
    return tf.math.divide_no_nan(scaled, tf.norm(scaled))
