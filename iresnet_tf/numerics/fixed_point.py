"""Solvers for the inverse of a residual map, and its implicit gradient.

    y = x + g(x),   Lip(g) ≤ L < 1   ⇒   x = lim x_k,  x_{k+1} = y − g(x_k)

Each solver works per sample: a sample is frozen when ``max |x + g(x) − y|`` of
it is at most the tolerance, or when its residual has stopped falling (rounding,
or ``g`` is no contraction), which is reported as ``converged = False``.  For any
solver, ``‖x − F⁻¹(y)‖₂ ≤ ‖x + g(x) − y‖₂ / (1 − L)``.

Sources: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 1; Anderson 1965;
Walker and Ni 2011 (doi:10.1137/10078356X) for the acceleration.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.configured import Configured


class FixedPoint(NamedTuple):
    """What a solver found, per sample.

    Attributes:
        x: ``[batch, …event]``, the iterate of smallest residual.
        iterations: int32 ``[batch]``, evaluations of ``g`` until the sample stopped.
        residual: ``[batch]``, ``‖x + g(x) − y‖₂`` at the returned ``x``.
        converged: bool ``[batch]``, whether ``max |x + g(x) − y| ≤ tolerance``.
    """

    x: tf.Tensor
    iterations: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor


class _Iterate(NamedTuple):
    """Loop state; vectors are ``[batch, D]``."""

    step: tf.Tensor
    x: tf.Tensor
    best_x: tf.Tensor
    best_r: tf.Tensor
    best_norm: tf.Tensor
    stalled: tf.Tensor
    iterations: tf.Tensor
    converged: tf.Tensor
    active: tf.Tensor
    memory: tuple


class Solver(Configured):
    """Base of the solvers: the loop, the stopping tests and the report.

    Args:
        tolerance: absolute, on ``max |x + g(x) − y|`` of a sample.
        max_iterations: most evaluations of ``g``.

    Raises:
        ValueError: for a tolerance ≤ 0 or fewer than one iteration.
    """

    PATIENCE = 6
    """Consecutive evaluations without a smaller residual that count as stalled."""

    def __init__(self, tolerance=1e-6, max_iterations=1000):
        if not tolerance > 0.0:
            raise ValueError(f"tolerance is a positive number; received {tolerance!r}.")
        if max_iterations < 1:
            raise ValueError(f"max_iterations is at least 1; received {max_iterations!r}.")
        self.tolerance = float(tolerance)
        self.max_iterations = int(max_iterations)

    def __call__(self, g, y, initial=None, tolerance=None):
        """Solves ``x + g(x) = y``.

        Args:
            g: function ``[batch, …event] → [batch, …event]``.
            y: ``[batch, …event]``.
            initial: first iterate, ``y`` by default.
            tolerance: in place of the solver's own.

        Returns:
            `FixedPoint`.  No gradient flows through it: see `implicit_gradient`.
        """
        y = tf.stop_gradient(tf.convert_to_tensor(y))
        shape, dtype = tf.shape(y), y.dtype
        batch, dimension = shape[0], int(np.prod(y.shape[1:]))
        tolerance = tf.cast(self.tolerance if tolerance is None else tolerance, dtype)
        epsilon = np.finfo(dtype.as_numpy_dtype).eps
        target = tf.reshape(y, [batch, dimension])
        start = (
            target if initial is None else tf.reshape(tf.stop_gradient(initial), [-1, dimension])
        )

        def residual(x):
            value = g(tf.ensure_shape(tf.reshape(x, shape), y.shape))
            value = tf.stop_gradient(tf.reshape(value, [batch, dimension]))
            # The sum first: what F itself returns at x, rounding included.
            return target - (x + value), epsilon * tf.reduce_max(tf.abs(value), axis=1)

        def body(*fields):
            now = _Iterate(*fields)
            r, rounding = residual(now.x)
            norm = tf.norm(r, axis=1)
            # So that F(x), evaluated again in another order, meets the tolerance too.
            solved = now.active & (tf.reduce_max(tf.abs(r), axis=1) + rounding <= tolerance)
            improved = now.active & ((norm < now.best_norm) | solved)
            keep = improved[:, tf.newaxis]
            stalled = tf.where(improved, 0, now.stalled + 1)
            converged = now.converged | solved
            new = now._replace(
                step=now.step + 1,
                best_x=tf.where(keep, now.x, now.best_x),
                best_r=tf.where(keep, r, now.best_r),
                best_norm=tf.where(improved, norm, now.best_norm),
                stalled=stalled,
                iterations=now.iterations + tf.cast(now.active, tf.int32),
                converged=converged,
                active=now.active & ~solved & (stalled < self.PATIENCE),
            )
            x, memory = self._next(new, r, improved)
            return tuple(new._replace(x=x, memory=memory))

        first = _Iterate(
            step=tf.constant(0),
            x=start,
            best_x=start,
            best_r=tf.zeros_like(start),
            best_norm=tf.fill([batch], tf.constant(np.inf, dtype)),
            stalled=tf.zeros([batch], tf.int32),
            iterations=tf.zeros([batch], tf.int32),
            converged=tf.zeros([batch], tf.bool),
            active=tf.ones([batch], tf.bool),
            memory=self._empty_memory(batch, dimension, dtype),
        )
        last = _Iterate(
            *tf.while_loop(
                lambda *fields: tf.reduce_any(_Iterate(*fields).active),
                body,
                tuple(first),
                maximum_iterations=self.max_iterations,
            )
        )
        x = tf.ensure_shape(tf.reshape(last.best_x, shape), y.shape)
        found = FixedPoint(x, last.iterations, last.best_norm, last.converged)
        return FixedPoint(*(tf.stop_gradient(each) for each in found))

    def _empty_memory(self, batch, dimension, dtype):
        del batch, dimension, dtype
        return ()

    def _next(self, now, r, improved):
        """The next iterate ``[batch, D]`` and the solver's memory."""
        raise NotImplementedError

    def get_config(self):
        return {"tolerance": self.tolerance, "max_iterations": self.max_iterations}


@keras.saving.register_keras_serializable("iresnet_tf")
class Picard(Solver):
    """``x_{k+1} = y − g(x_k)``: the error falls by ``Lip(g)`` at every evaluation.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 1.
    """

    def _next(self, now, r, improved):
        del improved
        return now.x + r, now.memory


@keras.saving.register_keras_serializable("iresnet_tf")
class Anderson(Solver):
    """``x_{k+1} = x_k + r_k − (ΔX + ΔR) γ``,  ``γ = argmin ‖r_k − ΔR γ‖₂``.

    ``r_k = y − x_k − g(x_k)``; ``ΔX`` and ``ΔR`` hold the last differences of
    iterates and residuals of each sample.  Where a step makes the residual grow,
    the sample forgets its differences, returns to its best iterate and takes
    Picard steps, twice as many after every such failure.

    Args:
        tolerance: absolute, on ``max |x + g(x) − y|`` of a sample.
        max_iterations: most evaluations of ``g``.
        memory: number of differences kept.

    Source: Anderson 1965 (doi:10.1145/321296.321305); Walker and Ni 2011.
    """

    def __init__(self, tolerance=1e-6, max_iterations=1000, memory=6):
        super().__init__(tolerance, max_iterations)
        if memory < 1:
            raise ValueError(f"memory is at least 1; received {memory!r}.")
        self.memory = int(memory)

    def get_config(self):
        return {**super().get_config(), "memory": self.memory}

    def _empty_memory(self, batch, dimension, dtype):
        history = tf.zeros([batch, self.memory, dimension], dtype)
        last = tf.zeros([batch, dimension], dtype)
        count = tf.zeros([batch], tf.int32)
        # ΔX, ΔR, the last x and r, whether they are there, Picard steps to go, failures.
        return history, history, last, last, tf.zeros([batch], tf.bool), count, count

    def _next(self, now, r, improved):
        history_x, history_r, last_x, last_r, known, waiting, failures = now.memory
        failed = (now.step > 1) & ~improved
        failures += tf.cast(failed, tf.int32)
        waiting = tf.where(failed, 2 ** tf.minimum(failures, 8) - 1, tf.maximum(waiting - 1, 0))

        fresh = (known & improved)[:, tf.newaxis, tf.newaxis]
        keep = improved[:, tf.newaxis, tf.newaxis]
        difference_x = (now.x - last_x)[:, tf.newaxis]
        difference_r = (r - last_r)[:, tf.newaxis]
        shifted_x = tf.concat([history_x[:, 1:], difference_x], 1)
        shifted_r = tf.concat([history_r[:, 1:], difference_r], 1)
        zero = tf.zeros_like(history_x)
        history_x = tf.where(keep, tf.where(fresh, shifted_x, history_x), zero)
        history_r = tf.where(keep, tf.where(fresh, shifted_r, history_r), zero)

        base_x, base_r = now.best_x, now.best_r
        correction = _least_squares(history_r, base_r, history_x + history_r)
        accelerate = (waiting == 0)[:, tf.newaxis]
        x = base_x + base_r - tf.where(accelerate, correction, tf.zeros_like(correction))
        memory = (history_x, history_r, base_x, base_r, tf.ones_like(known), waiting, failures)
        return x, memory


def _least_squares(rows, target, directions):
    """``Σ γ_i directions_i`` with ``γ = argmin ‖target − Σ γ_i rows_i‖₂``, per sample.

    Rows are scaled to unit length and the normal equations solved in float64
    with a ridge just above their rounding; rows of zeros get ``γ = 0``.
    """
    dtype = rows.dtype
    length = tf.norm(rows, axis=2, keepdims=True)
    unit = tf.cast(tf.math.divide_no_nan(rows, length), tf.float64)
    gram = tf.matmul(unit, unit, transpose_b=True)
    ridge = 1e-10 if dtype == tf.float32 else 1e-14
    gram += tf.eye(tf.shape(rows)[1], dtype=tf.float64) * ridge
    gram += tf.linalg.diag(tf.cast(length[:, :, 0] == 0.0, tf.float64))
    right = tf.matmul(unit, tf.cast(target, tf.float64)[:, :, tf.newaxis])
    gamma = tf.cast(tf.linalg.solve(gram, right), dtype)
    gamma = tf.math.divide_no_nan(gamma, length)
    return tf.reduce_sum(gamma * directions, axis=1)


def implicit_gradient(g, y, x, solver):
    """``x`` with the gradient of ``F⁻¹`` at ``y``, whatever found it.

    ``x + g(x) = y`` gives ``dx = (I + J)⁻¹ (dy − ∂_θ g dθ)``, so a cotangent
    ``c`` of ``x`` becomes ``w`` with ``(I + J)ᵀ w = c`` for ``y`` and ``−w`` for
    ``g(x; θ)``.  The solver is used for that linear equation too; nothing is
    unrolled.

    Args:
        g: the residual map, with a ``linearize`` method.
        y: the point inverted.
        x: its preimage, as found.
        solver: for the adjoint equation.

    Returns:
        ``x`` again, differentiable once with respect to ``y`` and what ``g`` was made of.

    Source: the implicit function theorem; Bai et al. 2019 (arXiv:1909.01377) for its use.
    """
    x = tf.stop_gradient(x)
    linearization = g.linearize(x)

    @tf.custom_gradient
    def attach(step):
        del step

        def gradient(cotangent):
            axes = list(range(1, cotangent.shape.rank))
            scale = tf.reduce_max(tf.abs(cotangent), axis=axes, keepdims=True)
            unit = tf.math.divide_no_nan(cotangent, scale)
            # To rounding: a gradient has no tolerance of its own.
            tolerance = 16.0 * np.finfo(cotangent.dtype.as_numpy_dtype).eps
            return scale * solver(linearization.vjp, unit, tolerance=tolerance).x

        return tf.identity(x), gradient

    return attach(y - linearization.value)


def get(identifier):
    """The solver itself, from a solver or its serialised configuration."""
    if isinstance(identifier, Solver):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        f"solver is a solver, as Anderson(tolerance=1e-6) or Picard(); received {identifier!r}."
    )
