"""Anderson acceleration of the fixed-point iteration."""

from typing import NamedTuple

import keras
import tensorflow as tf

from iresnet_tf.numerics.solver import Solver


class _Memory(NamedTuple):
    """What a sample remembers; vectors are ``[batch, D]``, histories ``[batch, memory, D]``."""

    history_x: tf.Tensor
    history_r: tf.Tensor
    x: tf.Tensor
    r: tf.Tensor
    direction: tf.Tensor
    remainder: tf.Tensor
    length: tf.Tensor
    known: tf.Tensor
    waiting: tf.Tensor
    failures: tf.Tensor


@keras.saving.register_keras_serializable("iresnet_tf")
class Anderson(Solver):
    """``x_{k+1} = x̄_k + α_k p_k``,  ``p_k = r̄_k + β_k p_{k−1}``:

        x̄_k = x_k − ΔX γ,   r̄_k = r_k − ΔR γ,   γ = argmin ‖r_k − ΔR γ‖² + Σ_i λ_i γ_i² ‖ΔR_i‖²

    ``r_k = y − x_k − g(x_k)``; ``ΔX`` and ``ΔR`` hold the last differences of iterates and
    residuals of each sample.  The ridge ``λ_i`` grows with a difference's age: g bends, so old
    differences mislead.  The step from ``x̄_k`` has the length and momentum of conjugate
    gradients,

        α_k = ‖r̄_{k−1}‖² / ⟨r̄_{k−1}, (I + J) p_{k−1}⟩,   β_k = ‖r̄_k‖² / ‖r̄_{k−1}‖²,

    near the best along the unseen direction where J is nearly symmetric, as trained ones are;
    the product with ``I + J`` is the difference that the last step made, so the length is the
    one that would have been best there.

    Where a step makes the residual grow, the sample forgets its differences, returns to its
    best iterate and takes Picard steps (``α = 1, β = 0, γ = 0``), twice as many after every
    such failure.

    Args:
        tolerance: absolute, on ``max |x + g(x) − y|`` of a sample.
        max_iterations: most evaluations of ``g``.
        memory: number of differences kept.

    Sources: Anderson 1965 (doi:10.1145/321296.321305); Walker and Ni 2011
    (doi:10.1137/10078356X); Hestenes and Stiefel 1952 (doi:10.6028/jres.049.044), conjugate
    gradients.
    """

    AGEING = 3e-3
    """What the ridge of a difference grows by at every step."""

    LARGEST_LENGTH = 1.25
    LARGEST_MOMENTUM = 0.5

    def __init__(self, tolerance=1e-6, max_iterations=1000, memory=6):
        super().__init__(tolerance, max_iterations)
        if memory < 1:
            raise ValueError(f"memory is at least 1; received {memory!r}.")
        self.memory = int(memory)

    def get_config(self):
        return {**super().get_config(), "memory": self.memory}

    def _empty_memory(self, batch, dimension, dtype):
        history = tf.zeros([batch, self.memory, dimension], dtype)
        vector = tf.zeros([batch, dimension], dtype)
        count = tf.zeros([batch], tf.int32)
        return _Memory(
            history_x=history,
            history_r=history,
            x=vector,
            r=vector,
            direction=vector,
            remainder=vector,
            length=tf.ones([batch], dtype),
            known=tf.zeros([batch], tf.bool),
            waiting=count,
            failures=count,
        )

    def _next(self, now, r, improved):
        last = now.memory
        failed = (now.step > 1) & ~improved
        failures = last.failures + tf.cast(failed, tf.int32)
        waiting = tf.where(
            failed, 2 ** tf.minimum(failures, 8) - 1, tf.maximum(last.waiting - 1, 0)
        )
        history_x = _with_difference(last.history_x, now.x - last.x, last.known, improved)
        history_r = _with_difference(last.history_r, r - last.r, last.known, improved)

        accelerate = (waiting == 0)[:, tf.newaxis]
        gamma = self._least_squares(history_r, now.best_r)
        gamma = tf.where(accelerate, gamma, tf.zeros_like(gamma))
        base = now.best_x - _combination(gamma, history_x)
        remainder = now.best_r - _combination(gamma, history_r)

        conjugate = last.known & improved & (waiting == 0)
        length, momentum = self._conjugate_step(last, r, remainder)
        length = tf.where(conjugate, length, tf.ones_like(length))
        momentum = tf.where(conjugate, momentum, tf.zeros_like(momentum))
        direction = remainder + momentum[:, tf.newaxis] * last.direction
        memory = _Memory(
            history_x,
            history_r,
            now.best_x,
            now.best_r,
            direction,
            remainder,
            length,
            tf.ones_like(last.known),
            waiting,
            failures,
        )
        return base + length[:, tf.newaxis] * direction, memory

    def _conjugate_step(self, last, r, remainder):
        """``α`` and ``β``, ``[batch]``."""
        # (I + J) p, from the last step: r = r̄ − α (I + J) p.
        curvature = _inner(last.remainder, last.remainder - r) / last.length
        square = _inner(last.remainder, last.remainder)
        length = tf.clip_by_value(
            tf.math.divide_no_nan(square, curvature),
            1.0 / self.LARGEST_LENGTH,
            self.LARGEST_LENGTH,
        )
        momentum = tf.math.divide_no_nan(_inner(remainder, remainder), square)
        return length, tf.minimum(momentum, self.LARGEST_MOMENTUM)

    def _least_squares(self, rows, target):
        """``γ`` of ``[batch, memory, D]`` and ``[batch, D]``; 0 for rows of zeros.

        Rows are scaled to unit length and the normal equations solved in float64 with a
        ridge that begins just above their rounding.
        """
        dtype = rows.dtype
        length = tf.norm(rows, axis=2, keepdims=True)
        unit = tf.cast(tf.math.divide_no_nan(rows, length), tf.float64)
        gram = tf.matmul(unit, unit, transpose_b=True)
        rounding = 1e-10 if dtype == tf.float32 else 1e-14
        age = tf.range(self.memory - 1, -1, -1, dtype=tf.float64)
        missing = tf.cast(length[:, :, 0] == 0.0, tf.float64)
        gram += tf.linalg.diag(rounding + self.AGEING * age + missing)
        right = tf.matmul(unit, tf.cast(target, tf.float64)[:, :, tf.newaxis])
        gamma = tf.cast(tf.linalg.solve(gram, right), dtype)
        return tf.math.divide_no_nan(gamma, length)[:, :, 0]


def _with_difference(history, difference, known, improved):
    """The history with its oldest entry replaced, if one is known; empty after a failure."""
    shifted = tf.concat([history[:, 1:], difference[:, tf.newaxis]], 1)
    history = tf.where(known[:, tf.newaxis, tf.newaxis], shifted, history)
    return tf.where(improved[:, tf.newaxis, tf.newaxis], history, tf.zeros_like(history))


def _combination(gamma, history):
    return tf.reduce_sum(gamma[:, :, tf.newaxis] * history, axis=1)


def _inner(a, b):
    return tf.reduce_sum(a * b, axis=1)
