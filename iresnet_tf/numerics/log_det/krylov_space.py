"""Krylov spaces of a Jacobian, and the numbers that they know about ``(I + t Jᵀ)⁻¹ v``.

    Jᵀ Vₙ = Vₙ₊₁ H̄ₙ,   v = β Vₙ e₁,   VₙᵀVₙ = I,   Hₙ: the first n rows of the Hessenberg H̄ₙ

The Galerkin solution of ``(I + t Jᵀ) w = v`` is ``β Vₙ (I + t Hₙ)⁻¹ e₁``, and its residual is
``β ρₙ(t) vₙ₊₁``.  Two ratios of determinants are carried from step to step, for many ``t`` at once:

    ρₙ(t) = Π_{k≤n} (−t h_{k+1,k}) / det(I + t Hₙ),   γₙ(t) = e₁ᵀ (I + t Hₙ)⁻¹ e₁

``γ`` gives the quadrature of the logarithm, as ``log(I + H) = ∫₀¹ (I − (I + t H)⁻¹) / t dt``, and
``ρ`` bounds its error.

Sources: Arnoldi 1951 for the process; Saad 2003, "Iterative Methods for Sparse Linear Systems",
§6.4, for the residual; the minors of a Hessenberg matrix by Hyman's recurrence.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.numerics.axes import dimension_of

LARGEST = 0.99
"""The nodes of the integrals are at least those of this constant; see `_quadrature`."""


class _State(NamedTuple):
    """Holds the tensors that grow with the dimension ``n`` of the spaces.

    Attributes:
        basis: ``Vₙ₊₁`` transposed, ``[rows, n + 1, D]``; zero from ``vₖ`` on if the space of the
            vectors before is invariant.
        hessenberg: ``H̄ₙ``, ``[rows, n + 1, n]``, float64.
        minors: the terms of both recurrences, ``[n + 1, 2, nodes, rows]``, float64, with
            ``minors[0, 0] = ρₙ`` and ``minors[-1, 1] = γₙ``.
    """

    basis: tf.Tensor
    hessenberg: tf.Tensor
    minors: tf.Tensor


@dataclasses.dataclass(frozen=True)
class KrylovSpace:
    """The Krylov spaces of probes ``v``; each probe of each sample is a row.

    `of_probes` makes those of dimension 1.

    Attributes:
        vjp: ``w ↦ Jᵀ w`` for vectors of the dtype ``dtype``.
        dtype: of the products.
        v: probes ``[probes, batch, …event]``.
        length, growth: ``‖v‖`` and ``‖J v‖``, ``[rows]``, float64.
        lipschitz: ``L < 1``, a bound on ``‖J‖₂``, or ``None`` if none is known: then integrals
            are exact for norms up to 0.999.
        nodes, weights: of the integrals over ``t``, see `_quadrature`.
        state: what grows with the dimension.
    """

    vjp: Callable[[tf.Tensor], tf.Tensor]
    dtype: tf.DType
    v: tf.Tensor
    length: tf.Tensor
    growth: tf.Tensor
    lipschitz: float | None
    nodes: np.ndarray
    weights: np.ndarray
    state: _State

    @classmethod
    def of_probes(
        cls,
        vjp: Callable[[tf.Tensor], tf.Tensor],
        dtype: tf.DType,
        v: tf.Tensor,
        image: tf.Tensor,
        lipschitz: float | None,
    ) -> Self:
        """Returns the spaces of dimension 1; ``image`` is ``J v``, see the class for the others."""
        rows, images = (tf.reshape(each, [-1, dimension_of(v[0])]) for each in (v, image))
        length, growth = (tf.cast(tf.norm(each, axis=-1), tf.float64) for each in (rows, images))
        nodes, weights = _quadrature(max(lipschitz or 0.999, LARGEST), v.dtype)
        basis = tf.math.divide_no_nan(rows, tf.norm(rows, axis=-1, keepdims=True))
        empty = tf.zeros([tf.shape(rows)[0], 1, 0], tf.float64)
        minors = _first_minors(nodes, tf.shape(rows)[0])
        state = _State(basis[:, tf.newaxis], empty, minors)
        space = cls(vjp, dtype, v, length, growth, lipschitz, nodes, weights, state)
        return space._with(space._step(state, is_first=True))

    @property
    def dimension(self) -> int:
        """``D``, the dimension of a sample, which no space exceeds."""
        return dimension_of(self.v[0])

    def extended(self, dimension: int) -> Self:
        """Returns the spaces extended to ``dimension``."""
        state = self.state
        for _ in range(1, dimension):
            state = self._step(state)
        return self._with(state)

    def extended_while(self, unfinished: Callable[[Self], tf.Tensor], dimension: int) -> Self:
        """Returns the spaces extended, at most to ``dimension``, while ``unfinished`` holds.

        Args:
            unfinished: takes spaces and returns a number of truth values, of which one suffices.
            dimension: the largest one.
        """

        def condition(*state):
            return tf.reduce_any(unfinished(self._with(_State(*state))))

        def body(*state):
            return tuple(self._step(_State(*state)))

        shapes = ([None, None, self.dimension], [None] * 3, [None, 2, len(self.nodes), None])
        shapes = tuple(map(tf.TensorShape, shapes))
        start, steps = tuple(self.state), dimension - 1
        final = tf.while_loop(condition, body, start, shapes, maximum_iterations=steps)
        return self._with(_State(*final))

    def values(self) -> tf.Tensor:
        """Returns the real part of ``‖v‖² e₁ᵀ log(I + Hₙ) e₁``, ``[probes, batch]``.

        The logarithm is real where ``J`` is a contraction.  A training step may meet another
        ``J``, when kernels change faster than the estimates of their norms.  In a graph the value
        is NaN there if the dimension of the space depends on the data.
        """
        corner = self.state.minors[-1, 1]
        integral = self._integral((1.0 - corner) / self.nodes)
        if self.state.hessenberg.shape[2] is not None:
            exists = tf.math.is_finite(integral)
            integral = tf.cond(
                tf.reduce_all(exists),
                lambda: integral,
                lambda: tf.where(exists, integral, self._integral_around_poles()),
            )
        return self._of_probes(integral)

    def _integral_around_poles(self):
        """Returns the real part of ``e₁ᵀ log(I + Hₙ) e₁``, ``[rows]``, whatever ``J`` is.

        An eigenvalue ``λ < −1`` puts a pole on the interval of ``t``; the path ``t + i t (1 − t)``
        leads around it.  The trace of the real part is ``log |det(I + J)|``.
        """
        hessenberg = self.state.hessenberg
        nodes = self.nodes + 1j * self.nodes * (1.0 - self.nodes)
        slopes = 1.0 + 1j * (1.0 - 2.0 * self.nodes)
        minors = _first_minors(nodes, tf.shape(hessenberg)[0])
        for index in range(hessenberg.shape[2]):
            column = tf.cast(hessenberg[:, : index + 2, index], nodes.dtype)
            minors = _with_minors(minors, nodes, column[:, :-1], column[:, -1], index == 0)
        return self._integral(tf.math.real((1.0 - minors[-1, 1]) * slopes / nodes))

    def bounds(self) -> tf.Tensor:
        """Returns ``‖v‖ ‖J v‖ ∫₀¹ |ρₙ(t)| / (1 − t L) dt``, ``[probes, batch]``."""
        return self._of_probes(self.relative_bounds())

    def relative_bounds(self) -> tf.Tensor:
        """Returns `bounds` divided by ``‖v‖²``, ``[rows]``."""
        if self.lipschitz is None:
            raise ValueError("Nothing bounds the error without a constant L < 1.")
        residual = tf.abs(self.state.minors[0, 0])
        integral = self._integral(residual / (1.0 - self.lipschitz * self.nodes))
        # Without a real logarithm there is no bound.
        known = tf.reduce_all(tf.math.is_finite(self.state.minors[-1, 1]), 0)
        integral = tf.where(known, integral, math.inf)
        # The margin exceeds the error of the quadrature.
        return 1.001 * integral * tf.math.divide_no_nan(self.growth, self.length)

    def residuals(self) -> tf.Tensor:
        """Returns ``|ρₙ(1)|``, ``[rows]``, a bound on ``‖v − (I + Jᵀ) u‖ / ‖v‖`` in `solutions`."""
        return tf.abs(self.state.minors[0, 0, -1])

    def solutions(self) -> tf.Tensor:
        """Returns ``w = v − Jᵀ u``, shaped like ``v``, with the best solution ``u`` of the spaces.

        ``u`` has the least residual ``r = v − (I + Jᵀ) u``.  That of ``w`` is ``−Jᵀ r``, which is
        at most ``L`` times as long, and takes no further product: ``Jᵀ u = Vₙ₊₁ H̄ₙ y``.

        Source: Saad and Schultz 1986 (doi:10.1137/0907058), GMRES, for ``u = Vₙ y``.
        """
        basis, hessenberg, _ = self.state
        shape = tf.shape(hessenberg)
        shifted = hessenberg + tf.eye(shape[1], shape[2], dtype=tf.float64)
        right = tf.concat([self.length[:, tf.newaxis], tf.zeros_like(hessenberg[:, 0])], 1)
        factors = tf.linalg.lstsq(shifted, right[..., tf.newaxis], fast=True)
        factors = tf.cast(right - tf.matmul(hessenberg, factors)[..., 0], basis.dtype)
        return self._as_vectors(tf.linalg.matvec(basis, factors, transpose_a=True))

    def _step(self, state, is_first=False):
        basis, column, length = self._orthogonalized(state.basis)
        minors = _with_minors(state.minors, self.nodes, column, length, is_first)
        return _State(basis, _bordered(state.hessenberg, column, length), minors)

    def _orthogonalized(self, basis):
        """Returns the basis with one vector more, and the new column of the Hessenberg matrix."""
        image = tf.reshape(self._product(basis[:, -1]), [-1, self.dimension])
        column, image = _projected(basis, image)
        # Twice, because the first projection may leave rounding errors as large as the rest.
        rest, image = _projected(basis, image)
        column, length = column + rest, tf.norm(image, axis=-1)
        # A rest of the size of rounding errors is none: the space is invariant.
        rounding = (16.0 + math.sqrt(self.dimension)) * np.finfo(image.dtype.as_numpy_dtype).eps
        length = tf.where(length > rounding * tf.norm(column, axis=-1), length, 0.0)
        following = tf.math.divide_no_nan(image, length[:, tf.newaxis])
        basis = tf.concat([basis, following[:, tf.newaxis]], 1)
        return basis, tf.cast(column, tf.float64), tf.cast(length, tf.float64)

    def _product(self, rows):
        return tf.cast(self.vjp(tf.cast(self._as_vectors(rows), self.dtype)), rows.dtype)

    def _as_vectors(self, rows):
        return tf.ensure_shape(tf.reshape(rows, tf.shape(self.v)), self.v.shape)

    def _of_probes(self, relative):
        """Returns ``‖v‖²`` times the numbers ``[rows]``, as ``[probes, batch]``."""
        numbers = tf.cast(tf.square(self.length) * relative, self.v.dtype)
        return tf.reshape(numbers, tf.shape(self.v)[:2])

    def _integral(self, values):
        """Returns ``∫₀¹ f(t) dt``, ``[rows]``, of the values at the nodes, ``[nodes, rows]``."""
        return tf.linalg.matvec(values, self.weights, transpose_a=True)

    def _with(self, state):
        return dataclasses.replace(self, state=state)


def _projected(basis, image):
    """Returns the components of an image along the basis, and what is left of it."""
    components = tf.linalg.matvec(basis, image)
    return components, image - tf.linalg.matvec(basis, components, transpose_a=True)


def _first_minors(nodes, rows):
    """Returns the minors of spaces of dimension 0; see `_State`."""
    one = tf.ones([1, 1, len(nodes), rows], nodes.dtype)
    return tf.concat([one, tf.zeros_like(one)], 1)


def _with_minors(minors, nodes, column, length, is_first):
    """Returns the minors after another column of the Hessenberg matrix, and its last entry."""
    across = tf.transpose(column)[:, tf.newaxis, tf.newaxis]
    pivot, minor = tf.unstack(minors[-1] + nodes * tf.reduce_sum(across * minors, 0))
    # The minor that belongs to the corner of a 1×1 matrix is empty, and its determinant 1.
    corner = (tf.ones_like(pivot) if is_first else minor) / pivot
    if not pivot.dtype.is_complex:
        # No pivot is negative where J is a contraction; elsewhere there is no real logarithm.
        corner = tf.where(pivot > 0.0, corner, math.nan)
    new = tf.stack([tf.ones_like(pivot), corner])[tf.newaxis]
    return tf.concat([-nodes * length / pivot * minors, new], 0)


def _bordered(hessenberg, column, length):
    """Returns the Hessenberg matrix with another column, which ends with the length."""
    below = tf.pad(hessenberg, [[0, 0], [0, 1], [0, 0]])
    column = tf.concat([column, length[:, tf.newaxis]], -1)
    return tf.concat([below, column[..., tf.newaxis]], -1)


def _quadrature(lipschitz, dtype):
    """Returns nodes ``[nodes, 1]`` and weights of ``∫₀¹ f(t) dt`` for functions of ``(I + t J)⁻¹``.

    Gauss's rule in ``u`` with ``1 − t L = (1 − L)ᵘ``, which makes the worst of these functions,
    ``1 / (1 − t L)``, a constant.  A last node at ``t = 1`` has no weight.  The error falls by
    the square of the sum ``r`` of the half axes of the largest ellipse around the interval that
    holds no pole: with ``c = −ln(1 − L)``, the poles are at ``−ln 2 / c`` or beyond, or at least
    ``π / (2 c)`` beside the interval.
    """
    rate = -np.log1p(-lipschitz)
    left, beside = 1.0 + 2.0 * np.log(2.0) / rate, np.pi / rate
    growth = min(left + np.sqrt(left**2 - 1.0), beside + np.sqrt(beside**2 + 1.0))
    error = 1e-2 * np.finfo(dtype.as_numpy_dtype).eps
    points, weights = np.polynomial.legendre.leggauss(
        min(64, int(np.ceil(-np.log(error) / (2.0 * np.log(growth)))))
    )
    u = 0.5 * (points + 1.0)
    nodes = -np.expm1(-rate * u) / lipschitz
    weights = 0.5 * weights * rate * np.exp(-rate * u) / lipschitz
    return np.append(nodes, 1.0)[:, np.newaxis], np.append(weights, 0.0)
