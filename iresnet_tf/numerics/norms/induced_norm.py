"""Induced norms ``‖A‖_{p→q} = max ‖A v‖_q / ‖v‖_p``: estimates from below, certified bounds.

An exponent from 1 to ∞ is given by its reciprocal, ``1/p`` in ``[0, 1]``: a float, or a scalar
tensor if it is learned.
"""

import math

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import event_axes
from iresnet_tf.numerics.execution import compiled
from iresnet_tf.numerics.maps import Operator
from iresnet_tf.numerics.norms.singular_values import (
    SingularTriple,
    gram_step,
    leading_triple,
    power_step,
    usable_or,
)
from iresnet_tf.numerics.structure import Structure

_STARTS, _MOST_STEPS = 8, 500
_EPSILON = float(np.finfo(np.float64).eps)


class EuclideanNorm(Structure):
    """``‖A‖_{2→2}``, the largest singular value, with the methods of `InducedNorm`."""

    advance = staticmethod(gram_step)
    power_step = staticmethod(power_step)
    leading_triple = staticmethod(leading_triple)

    def of(self, operator: Operator, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """Returns ``⟨u, A v⟩`` for unit ``u`` and ``v``: differentiable, never above the norm."""
        return tf.reduce_sum(u * operator(v))


class InducedNorm(Structure):
    """``‖A‖_{p→q}`` with ``domain`` ``1/p`` and ``codomain`` ``1/q``.

    Sources: Boyd 1974 (doi:10.1016/0024-3795(74)90029-7) for the power method; Chen et al. 2019
    (arXiv:1906.02735), appendix D, for its use in residual flows.
    """

    domain: float | tf.Tensor
    codomain: float | tf.Tensor

    def advance(self, operator: Operator, v: tf.Tensor) -> tf.Tensor:
        """Returns the right vector after one step; its length is arbitrary, and may be zero."""
        return self.power_step(operator, v).v

    def power_step(self, operator: Operator, v: tf.Tensor) -> SingularTriple:
        """Takes a step ``u ← (A v)^*_q,  v ← (Aᵀ u)^*_{p*}``, where ``^*`` is `dual`."""
        sigmas, u, v = self.power_steps(operator, v)
        return SingularTriple(sigmas[0], u, v)

    def power_steps(self, operator: Operator, v: tf.Tensor) -> SingularTriple:
        """Takes an independent `power_step` for every row of ``v``; ``σ`` is ``[rows]``."""
        image = operator(v)
        # Vectors of length zero would make the norm of a zero operator 0/0.
        u = dual(_rows_unless_zero(image, tf.ones_like(image)), self.codomain)
        image = operator.adjoint(u)
        v = dual(_rows_unless_zero(image, v), 1.0 - self.domain)
        return SingularTriple(tf.reduce_sum(image * v, event_axes(v)), u, v)

    def leading_triple(
        self, operator: Operator, v: tf.Tensor, tolerance: float = 1e-4
    ) -> SingularTriple:
        """Iterates from ``v [1, …]`` and random starts; returns the triple of the largest ``σ``.

        It stops when no ``σ`` rises by a tenth of the relative tolerance.  ``σ`` never falls, but
        it may end in a local maximum: it is an estimate from below.
        """
        tolerance = tf.constant(tolerance, v.dtype)
        return compiled.call(_leading_triple, operator, v, self, tolerance)

    def of(self, operator: Operator, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """Returns ``⟨u, A v⟩ / (‖u‖_{q*} ‖v‖_p)``, never above the norm.

        It is differentiable in ``A``, ``p`` and ``q``.  For ``p = 1`` or ``q = ∞`` it returns the
        norm of the largest column or row of the kernel, exact if the kernel fits into the grid.
        """
        if _is(self.domain, 1.0):
            return tf.reduce_max(vector_norm(_columns(operator.kernel), self.codomain))
        if _is(self.codomain, 0.0):
            return tf.reduce_max(vector_norm(_rows(operator.kernel), 1.0 - self.domain))
        lengths = vector_norm(u, 1.0 - self.codomain) * vector_norm(v, self.domain)
        return tf.reduce_sum(u * operator(v)) / lengths[0]


Norm = EuclideanNorm | InducedNorm


def _leading_triple(operator, v, norm, tolerance):
    others = tf.random.stateless_normal([_STARTS, *v.shape[1:]], [5, 6], dtype=v.dtype)

    def unfinished(step, sigmas, u, v, last):
        risen = tf.reduce_any(sigmas > (1.0 + 0.1 * tolerance) * last)
        return (step < _MOST_STEPS) & risen

    def body(step, sigmas, u, v, last):
        return step + 1, *norm.power_steps(operator, v), sigmas

    sigmas, u, v = norm.power_steps(operator, tf.concat([v, others], 0))
    start = tf.constant(1), sigmas, u, v, tf.zeros_like(sigmas)
    _, sigmas, u, v, _ = tf.while_loop(unfinished, body, start)
    best = tf.argmax(sigmas)
    return SingularTriple(sigmas[best], u[best : best + 1], v[best : best + 1])


def power_steps(norm: Norm, operator: Operator, v: tf.Tensor, steps: int) -> SingularTriple:
    """Returns the triple after ``steps ≥ 1`` steps of the norm's power method from ``v [1, …]``."""
    return compiled.call(_power_steps, operator, v, norm, steps)


def _power_steps(operator, v, norm, steps):
    last = v
    for _ in range(1, steps):
        last = norm.advance(operator, last)
    return norm.power_step(operator, usable_or(last, v))


def constrained(
    norm: Norm, operator: Operator, u: tf.Tensor, v: tf.Tensor, kernel: tf.Tensor, coeff: float
) -> tf.Tensor:
    """Returns ``K / max(1, σ/c)``, where ``σ`` is `InducedNorm.of` the vectors ``u`` and ``v``."""
    return kernel * compiled.call(_scale, operator, v, u, norm, float(coeff))


def _scale(operator, v, u, norm, coeff):
    # The vectors follow the kernel by power iteration, not by their gradients.
    u, v = tf.stop_gradient(u), tf.stop_gradient(v)
    return _reciprocal(tf.maximum(norm.of(operator, u, v), coeff) / coeff)


@tf.custom_gradient
def _reciprocal(x):
    def gradient(upstream):
        # A gradient is traced in a graph of its own, where a nested one needs its tensors.
        inner = _reciprocal(tf.identity(x))
        # Multiplied in this order, the derivative −1/x² does not underflow for a large x.
        return -(upstream * inner) * inner

    return 1.0 / x, gradient


def vector_norm(v: tf.Tensor, reciprocal: float | tf.Tensor) -> tf.Tensor:
    """Returns ``‖v‖_p`` of each row of ``v``, ``p = 1/reciprocal``, without overflow."""
    axes = event_axes(v)
    size = tf.abs(v)
    largest = tf.reduce_max(size, axes, keepdims=True)
    if _is(reciprocal, 0.0):
        return tf.squeeze(largest, axes)
    powers = tf.pow(tf.math.divide_no_nan(size, largest), 1.0 / reciprocal)
    return tf.squeeze(largest, axes) * tf.pow(tf.reduce_sum(powers, axes), reciprocal)


def dual(v: tf.Tensor, reciprocal: float | tf.Tensor) -> tf.Tensor:
    """Returns ``w = sign(v) |v|^{p−1} / ‖v‖_p^{p−1}`` for each row of ``v``; zero for zero.

    Then ``⟨w, v⟩ = ‖v‖_p`` and ``‖w‖_{p*} = 1``.  For ``p = ∞``, ``w`` is the sign of one largest
    entry.
    """
    axes = event_axes(v)
    size = tf.abs(v)
    largest = tf.reduce_max(size, axes, keepdims=True)
    if _is(reciprocal, 0.0):
        flat = tf.reshape(size, [v.shape[0], -1])
        one = tf.one_hot(tf.argmax(flat, -1), flat.shape[-1], dtype=v.dtype)
        return tf.sign(v) * tf.reshape(one, v.shape)
    relative = tf.math.divide_no_nan(size, largest)
    w = tf.sign(v) * tf.pow(relative, 1.0 / reciprocal - 1.0)
    length = tf.pow(
        tf.reduce_sum(tf.pow(relative, 1.0 / reciprocal), axes, keepdims=True), 1.0 - reciprocal
    )
    return tf.math.divide_no_nan(w, length)


def riesz_thorin_bound(
    kernel: np.ndarray, euclidean: float, domain: float, codomain: float
) -> float:
    """Bounds ``‖A‖_{p→q} ≤ ‖A‖₂^{1−θ} ‖A‖_E^θ``, where ``E`` is a pair of exponents of known norm.

    The logarithm of the norm is a convex function of ``(1/p, 1/q)``.  ``E`` is the point where the
    line from ``(1/2, 1/2)`` through ``(1/p, 1/q)`` meets ``p = 1`` (the largest column) or
    ``q = ∞`` (the largest row).  For ``q < p`` it meets neither, and nothing is certified.

    Args:
        kernel: array ``[in, out]`` or ``[height, width, in, out]``.
        euclidean: certified upper bound on ``‖A‖₂``.
        domain, codomain: ``1/p`` and ``1/q``, floats.

    Returns:
        A float, at least the norm; ``inf`` where ``q < p``.

    Source: the Riesz–Thorin theorem; its complex norms at both ends equal the real ones.
    """
    across, up = domain - 0.5, codomain - 0.5
    if across == up == 0.0:
        return euclidean
    if codomain > domain:
        return math.inf
    # E is 1/θ times as far from (1/2, 1/2) as the pair.
    reach = min([0.5 / abs(step) for step in (max(across, 0.0), min(up, 0.0)) if step])
    kernel = np.asarray(kernel, np.float64)
    if 0.5 + reach * across > 1.0 - 1e-12:
        lines, reciprocal = _columns(kernel), 0.5 + reach * up
    else:
        lines, reciprocal = _rows(kernel), 1.0 - (0.5 + reach * across)
    edge = _largest_norm(lines, min(max(reciprocal, 0.0), 1.0))
    # The margin exceeds the rounding of the sums, powers and exponents.
    margin = 1.0 + 64.0 * kernel.size * _EPSILON
    return float(margin * euclidean ** (1.0 - 1.0 / reach) * edge ** (1.0 / reach))


def _largest_norm(lines, reciprocal):
    """Returns the largest ``‖·‖_p`` of the rows of a matrix, without under- or overflow."""
    size = np.abs(lines)
    largest = size.max(1, keepdims=True)
    if reciprocal == 0.0 or not largest.any():
        return largest.max()
    relative = np.divide(size, largest, out=np.zeros_like(size), where=largest > 0.0)
    return (largest[:, 0] * (relative ** (1.0 / reciprocal)).sum(1) ** reciprocal).max()


def _rows_unless_zero(rows, others):
    is_zero = tf.reduce_all(rows == 0.0, event_axes(rows), keepdims=True)
    return tf.where(is_zero, others, rows)


def _columns(kernel):
    """Returns the kernel as ``[in, …]``: for each input channel, its weights to all outputs."""
    if len(kernel.shape) == 2:
        return kernel
    module = np if isinstance(kernel, np.ndarray) else tf
    return module.reshape(module.transpose(kernel, [2, 0, 1, 3]), [kernel.shape[2], -1])


def _rows(kernel):
    """Returns the kernel as ``[out, …]``: for each output channel, its weights to all inputs."""
    module = np if isinstance(kernel, np.ndarray) else tf
    return module.transpose(module.reshape(kernel, [-1, kernel.shape[-1]]))


def _is(reciprocal, value):
    """Returns whether an exponent is fixed at that value."""
    return not tf.is_tensor(reciprocal) and reciprocal == value
