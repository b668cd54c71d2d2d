"""The leading singular triple of an operator, by power steps or by Lanczos iteration."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.execution import compiled
from iresnet_tf.numerics.maps import Operator


class SingularTriple(NamedTuple):
    """``σ = ⟨u, A v⟩`` with unit ``u`` and ``v``, an estimate of ``‖A‖₂`` from below."""

    sigma: tf.Tensor
    u: tf.Tensor
    v: tf.Tensor


def power_step(operator: Operator, v: tf.Tensor) -> SingularTriple:
    """Takes one step of power iteration, ``u ← A v / ‖A v‖``, ``v ← Aᵀ u / ‖Aᵀ u‖``.

    ``sigma`` belongs to the new ``u`` and ``v``.
    """
    u = _normalise(operator(v))
    image = operator.adjoint(u)
    # Relative to the largest element, squares neither under- nor overflow.
    largest = tf.reduce_max(tf.abs(image))
    scaled = tf.where(largest > 0.0, tf.math.divide_no_nan(image, largest), v)
    length = tf.norm(scaled)
    return SingularTriple(largest * length, u, tf.math.divide_no_nan(scaled, length))


def gram_step(operator: Operator, v: tf.Tensor) -> tf.Tensor:
    """Returns ``AᵀA v``, scaled to a largest element of 1, or zero.

    It has the direction of the new ``v`` of a `power_step` and takes fewer operations, so it
    replaces every step except the last.
    """
    # Scaled in between, the image overflows only if the operator does.
    return _scaled(operator.adjoint(_scaled(operator(v))))


def leading_triple(operator: Operator, v: tf.Tensor, tolerance: float = 1e-4) -> SingularTriple:
    """Returns the leading `SingularTriple` of ``A``, by Lanczos iteration with restarts.

    It keeps an orthonormal basis of the Krylov space of ``AᵀA`` (or of ``AAᵀ``, if that is
    smaller).  When the basis is full, its leading Ritz vectors start the next one.  If leading
    singular values are nearly equal, this takes tens of applications, and plain power iteration
    thousands.  With the residual ``r = AᵀA v − σ² v`` and the component ``c`` of ``v`` along the
    leading vector, ``‖A‖² − σ² ≤ ‖r‖ / c``; iteration stops at ``‖r‖ ≤ 0.1 · tolerance · σ²``.
    A fixed pseudo-random direction is added to the start, in case ``v`` has become orthogonal to
    the leading vector.

    Args:
        operator: ``A``.
        v: start vector of the operator's input shape, of any norm.
        tolerance: relative accuracy of ``σ``, which is 0 for a zero operator.

    Sources: Wu and Simon 2000 (doi:10.1137/S0895479898334605) for thick restarts; Gouk et al. 2018
    (arXiv:1804.04368) for the convolution as an operator.
    """
    return compiled.call(_iterate, operator, v, tf.cast(tolerance, v.dtype))


_BASIS, _KEPT = 24, 6  # vectors of a full basis, and those of them that start the next one
_MOST_APPLICATIONS = 2000  # of AᵀA, after which no new basis is started


def _iterate(operator, v, tolerance):
    # The Gram matrix has squares of the operator's values, and its residuals have fourth powers.
    operator, unit = of_order_one(operator)
    image = operator(v)
    is_tall = image.shape.num_elements() < v.shape.num_elements()
    first, there, back = v, operator, operator.adjoint
    if is_tall:
        first, there, back = image, operator.adjoint, operator
    shape, epsilon = first.shape, np.finfo(v.dtype.as_numpy_dtype).eps

    def gram(x):
        return tf.reshape(back(there(tf.reshape(x, shape))), [-1])

    def extended(index, basis, images):
        # Extends by the image of the best vector at first, then by that of the newest.
        w = images[tf.where(index == _KEPT, 0, index - 1)]
        length = tf.norm(w)
        for _ in range(2):
            w -= tf.linalg.matvec(basis, tf.linalg.matvec(basis, w), transpose_a=True)
        # A dependent direction leaves nothing but rounding, which is dropped.
        kept = tf.norm(w)
        w *= tf.where(kept > 16.0 * epsilon * length, tf.math.reciprocal_no_nan(kept), 0.0)
        basis = tf.tensor_scatter_nd_update(basis, [[index]], [w])
        return index + 1, basis, tf.tensor_scatter_nd_update(images, [[index]], [gram(w)])

    def body(count, basis, images):
        _, basis, images = tf.while_loop(
            lambda index, *_: index < _BASIS, extended, (tf.constant(_KEPT), basis, images)
        )
        projected = tf.matmul(basis, images, transpose_b=True)
        ritz = tf.linalg.eigh(0.5 * (projected + tf.transpose(projected)))[1]
        leading = tf.reverse(ritz[:, -_KEPT:], [1])
        basis, images = (
            tf.pad(tf.matmul(leading, rows, transpose_a=True), [[0, _BASIS - _KEPT], [0, 0]])
            for rows in (basis, images)
        )
        return count + _BASIS - _KEPT, basis, images

    # A residual below 32 ε is rounding.
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
        leading = usable_or(operator.adjoint(leading), v)
    triple = power_step(operator, leading)
    return triple._replace(sigma=unit * triple.sigma)


def of_order_one(operator: Operator) -> tuple[Operator, tf.Tensor]:
    """Returns ``A/s`` and ``s``, the power of two at or below the largest element of ``A``.

    The division is exact, except for elements that become subnormal; ``s`` is 1 for a zero ``A``.
    """
    largest = tf.reduce_max(tf.abs(operator.kernel))
    usable = (largest > 0.0) & tf.math.is_finite(largest)
    largest = tf.where(usable, largest, tf.ones_like(largest))
    unit = tf.pow(tf.constant(2.0, largest.dtype), tf.floor(tf.math.log(largest) / math.log(2.0)))
    return dataclasses.replace(operator, kernel=operator.kernel / unit), unit


def usable_or(image: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
    """Returns the image, or ``v`` in its place if it is zero or not finite: it has a direction."""
    is_usable = tf.reduce_any(image != 0.0) & tf.reduce_all(tf.math.is_finite(image))
    return tf.where(is_usable, image, v)


def _scaled(v):
    return tf.math.divide_no_nan(v, tf.reduce_max(tf.abs(v)))


def _normalise(v):
    # The first division keeps squares from under- and overflow.
    scaled = _scaled(v)
    return tf.math.divide_no_nan(scaled, tf.norm(scaled))
