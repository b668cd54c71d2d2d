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


def _restore_leading(image, like, channels):
    if like.shape.rank == 4:
        return tf.ensure_shape(image, like.shape[:3] + [channels])
    shape = tf.concat([tf.shape(like)[:-1], [channels]], 0)
    return tf.ensure_shape(tf.reshape(image, shape), like.shape[:-1] + [channels])


def _matrix_product(v, matrix, transpose=False):
    """One large product whatever the rank: ``tf.matmul`` would batch small ones."""
    if v.shape.rank == 2:
        return tf.matmul(v, matrix, transpose_b=transpose)
    features_in, features_out = (matrix.shape[::-1] if transpose else matrix.shape)
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
    """Leading singular triple of ``A`` by power iteration with a stopping test.

    The estimate rises to ``‖A‖₂`` geometrically, so what is still missing after
    a step that gained ``δ`` at a ratio ``r`` to the step before is about
    ``δ r / (1 − r)``.  Iteration stops when that is below ``tolerance · σ``.
    The start is mixed with a fixed pseudo-random direction, so that a vector
    grown orthogonal to the leading one cannot hide it.

    Args:
        operator: the pair ``(A, Aᵀ)``.
        v: start vector, of the operator's input shape; any norm.
        tolerance: relative accuracy asked of ``σ``.
        maximum: most iterations.

    Returns:
        `SingularTriple`.  A zero operator gives ``σ = 0``.

    Source: Miyato et al. 2018 (arXiv:1802.05957) for dense layers; Gouk et al.
    2018 (arXiv:1804.04368) for the convolution as an operator.
    """
    compiled = _compiled(type(operator), operator.kernel.shape, v.shape, v.dtype)
    return compiled(operator, v, tf.cast(tolerance, v.dtype), tf.constant(maximum))


@functools.lru_cache(maxsize=None)
def _compiled(*signature):
    """One traced loop for each kind and shape of operator."""
    del signature
    return tf.function(_iterate, autograph=False)


def _iterate(operator, v, tolerance, maximum):
    direction = tf.random.stateless_normal(tf.shape(v), seed=[1, 2], dtype=v.dtype)
    start = power_step(operator, _normalise(v) + 0.1 * _normalise(direction))
    zero = tf.zeros([], v.dtype)

    def unfinished(step, triple, gain, missing):
        del gain
        return (step < maximum) & (missing > tolerance * triple.sigma)

    def body(step, triple, gain, missing):
        new = power_step(operator, triple.v)
        new_gain = tf.maximum(new.sigma - triple.sigma, zero)
        ratio = tf.minimum(tf.math.divide_no_nan(new_gain, gain), 1.0 - 1e-6)
        # Two gains are needed before their ratio means anything.
        missing = tf.where(step < 2, new.sigma, new_gain * ratio / (1.0 - ratio))
        # Rounding noise in σ is no progress.
        noise = 4.0 * np.finfo(v.dtype.as_numpy_dtype).eps * new.sigma
        missing = tf.where(new_gain <= noise, zero, missing)
        return step + 1, new, new_gain, missing

    _, triple, _, _ = tf.while_loop(
        unfinished, body, (tf.constant(0), start, start.sigma, start.sigma)
    )
    return triple


# Leaves any image as it is, but keeps the direction of v where A is zero.
_TINY = 1e-12


def _normalise(v):
    return tf.math.l2_normalize(v, epsilon=1e-30)
