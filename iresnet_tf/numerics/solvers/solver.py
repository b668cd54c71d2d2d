"""The loop that every solver of the inverse runs, and Picard's iteration.

    y = x + g(x),   Lip(g) ≤ L < 1   ⇒   x = lim x_k,  x_{k+1} = y − g(x_k)

Each solver works per sample: a sample is frozen when ``max |x + g(x) − y|`` of
it is at most the tolerance, or when its residual has stopped falling (rounding,
or ``g`` is no contraction), which is reported as ``converged = False``.  For any
solver, ``‖x − F⁻¹(y)‖₂ ≤ ‖x + g(x) − y‖₂ / (1 − L)``.

Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 1.
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

    is_preconditioned = False
    """Whether the solver makes use of an approximate inverse of ``I + J``."""

    PATIENCE = 6
    """Consecutive evaluations without a smaller residual that count as stalled."""

    def __init__(self, tolerance=1e-6, max_iterations=1000):
        if not tolerance > 0.0:
            raise ValueError(f"tolerance is a positive number; received {tolerance!r}.")
        if max_iterations < 1:
            raise ValueError(f"max_iterations is at least 1; received {max_iterations!r}.")
        self.tolerance = float(tolerance)
        self.max_iterations = int(max_iterations)

    def __call__(self, g, y, initial=None, tolerance=None, subsets=True, precondition=None):
        """Solves ``x + g(x) = y``.

        Args:
            g: function ``[batch, …event] → [batch, …event]``.
            y: ``[batch, …event]``.
            initial: first iterate, ``y`` by default.
            tolerance: in place of the solver's own.
            subsets: whether ``g`` takes some samples of the batch without the others, so that
                those that have stopped cost no more; a product with Jacobians at a batch
                takes all.
            precondition: function ``[batch, …event] → [batch, …event]`` near ``(I + J)⁻¹``, or
                ``None``, for solvers that are preconditioned: see
                `iresnet_tf.numerics.solvers.preconditioner`.

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

        def on_rows(function):
            event = y.shape[1:]
            return lambda x: tf.reshape(function(tf.reshape(x, [-1, *event])), [-1, dimension])

        evaluate, corrected = on_rows(g), on_rows(precondition or tf.identity)

        def residual(x, target):
            value = tf.stop_gradient(evaluate(x))
            # The sum first: what F itself returns at x, rounding included.
            r = target - (x + value)
            return r, corrected(r), epsilon * tf.reduce_max(tf.abs(value), axis=1)

        def residual_of_active(x, active):
            # What belongs to a sample that has stopped is never looked at again.
            index = tf.where(active)
            found = residual(tf.gather_nd(x, index), tf.gather_nd(target, index))
            rows = tf.shape(x, tf.int64)
            return [tf.scatter_nd(index, each, rows[: each.shape.rank]) for each in found]

        def body(*fields):
            now = _Iterate(*fields)
            r, correction, rounding = (
                residual_of_active(now.x, now.active) if subsets else residual(now.x, target)
            )
            norm = tf.norm(r, axis=1)
            # So that F(x), evaluated again in another order, meets the tolerance too.
            solved = now.active & (tf.reduce_max(tf.abs(r), axis=1) + rounding <= tolerance)
            improved = now.active & ((norm < now.best_norm) | solved)
            stalled = tf.where(improved, 0, now.stalled + 1)
            converged = now.converged | solved
            new = now._replace(
                step=now.step + 1,
                best_x=select_rows(improved, now.x, now.best_x),
                best_r=select_rows(improved, r, now.best_r),
                best_norm=tf.where(improved, norm, now.best_norm),
                stalled=stalled,
                iterations=now.iterations + tf.cast(now.active, tf.int32),
                converged=converged,
                active=now.active & ~solved & (stalled < self.PATIENCE),
            )
            x, memory = self._next(new, r, correction, improved)
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

    def _next(self, now, r, correction, improved):
        """The next iterate ``[batch, D]`` and the solver's memory, after the residual ``r``.

        ``correction`` is ``r`` preconditioned.
        """
        raise NotImplementedError

    def get_config(self):
        return {"tolerance": self.tolerance, "max_iterations": self.max_iterations}


@keras.saving.register_keras_serializable("iresnet_tf")
class Picard(Solver):
    """``x_{k+1} = y − g(x_k)``: the error falls by ``Lip(g)`` at every evaluation.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 1.
    """

    def _next(self, now, r, correction, improved):
        del correction, improved
        return now.x + r, now.memory


def select_rows(condition, a, b):
    """Rows of ``a`` where the condition ``[batch]`` holds, else those of ``b``.

    Whole rows, where `tf.where` would look at every element.
    """
    return tf.raw_ops.Select(condition=condition, x=a, y=b)
