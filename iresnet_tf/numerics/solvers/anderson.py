"""Anderson acceleration of the fixed-point iteration."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.options import require_integer
from iresnet_tf.numerics.solvers.solver import Solver, State, select_rows


class _Memory(NamedTuple):
    """The memory of each sample; vectors are ``[batch, D]``, numbers ``[batch]``."""

    history_x: tf.Tensor  # [batch, memory, D]; the rows of both histories are written in turn
    history_c: tf.Tensor
    valid: tf.Tensor  # bool [batch, memory], which rows hold a difference
    x: tf.Tensor  # the best iterate
    correction: tf.Tensor  # c at x
    direction: tf.Tensor  # p of the last step
    remainder: tf.Tensor  # c̄ of the last step
    length: tf.Tensor  # α of the last step
    known: tf.Tensor  # bool, whether there was a step
    waiting: tf.Tensor  # int32, number of Picard steps that remain
    failures: tf.Tensor  # int32, number of steps that made the residual grow


@keras.saving.register_keras_serializable("iresnet_tf")
class Anderson(Solver):
    """``x_{k+1} = x̄_k + α_k p_k``,  ``p_k = c̄_k + β_k p_{k−1}``:

        x̄_k = x_k − ΔX γ,   c̄_k = c_k − ΔC γ,   γ = argmin ‖c_k − ΔC γ‖² + Σ_i λ_i γ_i² ‖ΔC_i‖²

    ``c_k = P (y − x_k − g(x_k))`` is the preconditioned residual, where ``P`` is one approximate
    inverse of ``I + J`` for all samples, or the identity (see
    `iresnet_tf.numerics.solvers.preconditioner`).  ``ΔX`` and ``ΔC`` hold each sample's last
    differences of iterates and of corrections.  The ridge ``λ_i`` grows with the age of a
    difference, because old differences mislead if ``g`` is not linear.  The step from ``x̄_k``
    has the length and momentum of conjugate gradients,

        α_k = ‖c̄_{k−1}‖² / ⟨c̄_{k−1}, P (I + J) p_{k−1}⟩,   β_k = ‖c̄_k‖² / ‖c̄_{k−1}‖²,

    which are nearly the best along the new direction if ``P (I + J)`` is nearly symmetric, as it
    is in trained blocks.  Its product with ``p_{k−1}`` follows from the last two corrections, so
    ``α_k`` is the best length of the last step.

    After a step that makes the residual grow, the sample drops its differences, returns to its
    best iterate and takes Picard steps, ``x_{k+1} = x_k + r_k``; each further failure doubles
    their number.

    Args:
        tolerance: absolute, on ``max |x + g(x) − y|`` of a sample.
        max_iterations: largest number of evaluations of ``g``.
        memory: number of differences that are kept.

    Raises:
        ValueError: see `Solver`; or for a memory below 1.

    Sources: Anderson 1965 (doi:10.1145/321296.321305); Walker and Ni 2011 (doi:10.1137/10078356X);
    Hestenes and Stiefel 1952 (doi:10.6028/jres.049.044) for conjugate gradients.
    """

    is_preconditioned = True

    AGEING = 3e-3
    """Growth of the ridge of a difference in each step."""

    LARGEST_LENGTH = 1.25
    LARGEST_MOMENTUM = 0.5

    def __init__(
        self, tolerance: float = 1e-6, max_iterations: int = 1000, memory: int = 6
    ) -> None:
        super().__init__(tolerance, max_iterations)
        self.memory = require_integer("memory", memory)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "memory": self.memory}

    def initial_memory(self, batch: tf.Tensor, dimension: int, dtype: tf.DType) -> Any:
        history = tf.zeros([batch, self.memory, dimension], dtype)
        vector = tf.zeros([batch, dimension], dtype)
        count = tf.zeros([batch], tf.int32)
        return _Memory(
            history_x=history,
            history_c=history,
            valid=tf.zeros([batch, self.memory], tf.bool),
            x=vector,
            correction=vector,
            direction=vector,
            remainder=vector,
            length=tf.ones([batch], dtype),
            known=tf.zeros([batch], tf.bool),
            waiting=count,
            failures=count,
        )

    def next_iterate(
        self, state: State, residual: tf.Tensor, correction: tf.Tensor, improved: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        last = state.memory
        best = select_rows(improved, correction, last.correction)
        failed = (state.step > 1) & ~improved
        failures = last.failures + tf.cast(failed, tf.int32)
        pause = tf.bitwise.left_shift(1, tf.minimum(failures, 8)) - 1
        waiting = tf.where(failed, pause, tf.maximum(last.waiting - 1, 0))
        row = state.step % self.memory
        history_x = _written(last.history_x, row, state.x - last.x, improved)
        history_c = _written(last.history_c, row, correction - last.correction, improved)
        is_new = tf.range(self.memory) == row
        valid = (last.valid | (is_new & last.known[:, tf.newaxis])) & improved[:, tf.newaxis]

        accelerate = waiting == 0
        age = tf.cast((row - tf.range(self.memory)) % self.memory, tf.float64)
        gamma = self._least_squares(history_c, valid & accelerate[:, tf.newaxis], age, best)
        base = state.best_x - _combination(gamma, history_x)
        remainder = best - _combination(gamma, history_c)

        conjugate = last.known & improved & accelerate
        length, momentum = self._conjugate_step(last, correction, remainder)
        length = tf.where(conjugate, length, tf.ones_like(length))
        momentum = tf.where(conjugate, momentum, tf.zeros_like(momentum))
        direction = remainder + momentum[:, tf.newaxis] * last.direction
        direction = select_rows(accelerate, direction, state.best_residual)
        histories, step = (history_x, history_c, valid), (direction, remainder, length)
        known = tf.ones_like(last.known)
        memory = _Memory(*histories, state.best_x, best, *step, known, waiting, failures)
        return base + length[:, tf.newaxis] * direction, memory

    def _conjugate_step(self, last, correction, remainder):
        """Returns ``α`` and ``β``, ``[batch]``."""
        # The last step gives P (I + J) p: correction = c̄ − α P (I + J) p.
        curvature = _inner(last.remainder, last.remainder - correction) / last.length
        square = _inner(last.remainder, last.remainder)
        length = tf.math.divide_no_nan(square, curvature)
        length = tf.clip_by_value(length, 1.0 / self.LARGEST_LENGTH, self.LARGEST_LENGTH)
        momentum = tf.math.divide_no_nan(_inner(remainder, remainder), square)
        return length, tf.minimum(momentum, self.LARGEST_MOMENTUM)

    def _least_squares(self, rows, valid, age, target):
        """Returns ``γ [batch, memory]`` of the least-squares problem; 0 for invalid rows.

        It solves the normal equations of the rows ``[batch, memory, D]``, scaled to unit length,
        with a ridge of at least the rounding of their products, which grows with the rows' age.
        """
        dtype = rows.dtype
        gram = tf.cast(tf.matmul(rows, rows, transpose_b=True), tf.float64)
        right = tf.cast(tf.linalg.matvec(rows, target), tf.float64)
        square = tf.linalg.diag_part(gram)
        valid &= (square > 0.0) & tf.math.is_finite(square)
        inverse_length = tf.where(valid, tf.math.rsqrt(square), 0.0)
        scale = inverse_length[:, :, tf.newaxis] * inverse_length[:, tf.newaxis]
        gram = tf.math.multiply_no_nan(gram, scale)
        right = tf.math.multiply_no_nan(right, inverse_length)
        rounding = 16.0 * np.finfo(dtype.as_numpy_dtype).eps
        gram += tf.linalg.diag(rounding + self.AGEING * age + tf.cast(~valid, tf.float64))
        gamma = tf.linalg.solve(gram, right[:, :, tf.newaxis])[:, :, 0]
        return tf.cast(inverse_length * gamma, dtype)


def _written(history, row, difference, improved):
    """Returns the history with each sample's difference in that row.

    Samples that did not improve get zeros: their difference may be infinite, and 0 · inf is NaN.
    """
    batch = tf.range(tf.shape(history)[0])
    places = tf.stack([batch, tf.fill(tf.shape(batch), row)], 1)
    finite = select_rows(improved, difference, tf.zeros_like(difference))
    return tf.tensor_scatter_nd_update(history, places, finite)


def _combination(gamma, history):
    return tf.reduce_sum(gamma[:, :, tf.newaxis] * history, axis=1)


def _inner(a, b):
    return tf.reduce_sum(a * b, axis=1)
