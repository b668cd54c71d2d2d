"""The loop of the solvers of the inverse.

    y = x + g(x),   Lip(g) ≤ L < 1   ⇒   x = lim x_k,  x_{k+1} = y − g(x_k)

A solver treats samples independently.  A sample stops when its ``max |x + g(x) − y|`` is at most
the tolerance, or when its residual no longer falls, because of rounding or because ``g`` is no
contraction; the latter is reported as ``converged = False``.  For any solver,
``‖x − F⁻¹(y)‖₂ ≤ ‖x + g(x) − y‖₂ / (1 − L)``.

Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 1.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.configured import Configured
from iresnet_tf.numerics.options import require_integer, require_positive


class FixedPoint(NamedTuple):
    """The report of a solver, for each sample.

    Attributes:
        x: ``[batch, …event]``, the iterate with the smallest residual.
        iterations: int32 ``[batch]``, the number of evaluations of ``g`` until the sample
            stopped.
        residual: ``[batch]``, ``‖x + g(x) − y‖₂`` at the returned ``x``.
        converged: bool ``[batch]``, whether ``max |x + g(x) − y| ≤ tolerance``.
    """

    x: tf.Tensor
    iterations: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor


class State(NamedTuple):
    """The state of the loop; vectors are ``[batch, D]``.

    Attributes:
        step: int32 scalar, the number of evaluations so far.
        x: the last iterate that was evaluated.
        best_x, best_residual, best_norm: the iterate with the smallest residual, that residual
            ``y − x − g(x)``, and its 2-norm ``[batch]``.
        stalled: int32 ``[batch]``, evaluations since the residual last fell.
        iterations: int32 ``[batch]``, evaluations of each sample.
        converged: bool ``[batch]``, whether the sample met the tolerance.
        active: bool ``[batch]``, whether the sample has not stopped.
        memory: the solver's memory, a nest of tensors like `Solver.initial_memory`.
    """

    step: tf.Tensor
    x: tf.Tensor
    best_x: tf.Tensor
    best_residual: tf.Tensor
    best_norm: tf.Tensor
    stalled: tf.Tensor
    iterations: tf.Tensor
    converged: tf.Tensor
    active: tf.Tensor
    memory: Any


class Solver(Configured, abc.ABC):
    """Base of the solvers: the loop, the stopping tests and the report.

    A subclass defines `next_iterate`, `initial_memory` if it has a memory, and `get_config` if it
    has options.  It is registered with ``keras.saving.register_keras_serializable``, so that
    models with it can be loaded.

    Args:
        tolerance: absolute, on ``max |x + g(x) − y|`` of a sample.
        max_iterations: largest number of evaluations of ``g``.

    Raises:
        ValueError: if the tolerance is not positive, or for less than one iteration.
    """

    is_preconditioned = False
    """Whether the solver uses an approximate inverse of ``I + J``, if there is one."""

    PATIENCE = 6
    """Number of consecutive evaluations without a smaller residual after which a sample stops."""

    def __init__(self, tolerance: float = 1e-6, max_iterations: int = 1000) -> None:
        self.tolerance = require_positive("tolerance", tolerance, "a positive number")
        self.max_iterations = require_integer("max_iterations", max_iterations)

    @abc.abstractmethod
    def next_iterate(
        self, state: State, residual: tf.Tensor, correction: tf.Tensor, improved: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        """Returns the next iterate ``[batch, D]`` and the new memory.

        Args:
            state: the loop after the last evaluation.
            residual: ``r = y − x − g(x)`` at ``state.x``, ``[batch, D]``.
            correction: ``P r`` with the preconditioner ``P``, or ``r`` without one.
            improved: bool ``[batch]``, whether the residual of a sample fell.
        """

    def initial_memory(self, batch: tf.Tensor, dimension: int, dtype: tf.DType) -> Any:
        """Returns the memory before the first step: a nest of tensors, empty by default.

        Vectors are ``[batch, dimension]``, where ``batch`` is an int32 scalar.
        """
        return ()

    def __call__(
        self,
        g: Callable[[tf.Tensor], tf.Tensor],
        y: tf.Tensor,
        *,
        initial: tf.Tensor | None = None,
        tolerance: float | tf.Tensor | None = None,
        subsets: bool = True,
        precondition: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> FixedPoint:
        """Solves ``x + g(x) = y``.

        Args:
            g: function ``[batch, …event] → [batch, …event]``.
            y: ``[batch, …event]``.
            initial: first iterate; ``y`` by default.
            tolerance: replaces the tolerance of the solver.
            subsets: whether ``g`` may be evaluated at some samples only, so that those that have
                stopped cost nothing.  A product with the Jacobians of a batch needs all samples.
            precondition: function ``[batch, …event] → [batch, …event]`` close to
                ``(I + J)⁻¹``, or ``None``: see `iresnet_tf.numerics.solvers.preconditioner`.

        Returns:
            `FixedPoint`.  No gradient flows through it: see `implicit_gradient`.
        """
        y = tf.stop_gradient(tf.convert_to_tensor(y))
        shape, dtype = tf.shape(y), y.dtype
        batch, dimension = shape[0], int(np.prod(y.shape[1:]))
        tolerance = tf.cast(self.tolerance if tolerance is None else tolerance, dtype)
        epsilon = np.finfo(dtype.as_numpy_dtype).eps
        target = start = tf.reshape(y, [batch, dimension])
        if initial is not None:
            start = tf.reshape(tf.stop_gradient(initial), [-1, dimension])

        def on_rows(function):
            event = y.shape[1:]
            return lambda x: tf.reshape(function(tf.reshape(x, [-1, *event])), [-1, dimension])

        # Where the sum x + g(x) alone rounds by more than the tolerance, nothing can meet it.
        is_coarse = 0.5 * epsilon * tf.reduce_max(tf.abs(target), axis=1) > tolerance
        evaluate, corrected = on_rows(g), on_rows(precondition or tf.identity)

        def residual(x, target):
            value = tf.stop_gradient(evaluate(x))
            # The sum comes first, as in F(x), so that it rounds in the same way.
            r = target - (x + value)
            # The margin covers another order of summation in a later evaluation of F(x).
            margin = epsilon * tf.reduce_max(tf.abs(value), axis=1)
            return r, corrected(r), tf.reduce_max(tf.abs(r), axis=1) + margin

        def residual_of_active(x, active):
            # Rows of samples that have stopped are never read again.
            index = tf.where(active)
            found = residual(tf.gather_nd(x, index), tf.gather_nd(target, index))
            rows = tf.shape(x, tf.int64)
            return [tf.scatter_nd(index, tensor, rows[: tensor.shape.rank]) for tensor in found]

        def body(*fields):
            state = State(*fields)
            r, correction, largest = (
                residual_of_active(state.x, state.active) if subsets else residual(state.x, target)
            )
            norm = tf.norm(r, axis=1)
            solved = state.active & (largest <= tolerance)
            improved = state.active & ((norm < state.best_norm) | solved)
            stalled = tf.where(improved, 0, state.stalled + 1)
            converged = state.converged | (solved & ~is_coarse)
            new = state._replace(
                step=state.step + 1,
                best_x=select_rows(improved, state.x, state.best_x),
                best_residual=select_rows(improved, r, state.best_residual),
                best_norm=tf.where(improved, norm, state.best_norm),
                stalled=stalled,
                iterations=state.iterations + tf.cast(state.active, tf.int32),
                converged=converged,
                active=state.active & ~solved & (stalled < self.PATIENCE),
            )
            x, memory = self.next_iterate(new, r, correction, improved)
            return tuple(new._replace(x=x, memory=memory))

        first = State(
            step=tf.constant(0),
            x=start,
            best_x=start,
            best_residual=tf.zeros_like(start),
            best_norm=tf.fill([batch], tf.constant(np.inf, dtype)),
            stalled=tf.zeros([batch], tf.int32),
            iterations=tf.zeros([batch], tf.int32),
            converged=tf.zeros([batch], tf.bool),
            active=tf.ones([batch], tf.bool),
            memory=self.initial_memory(batch, dimension, dtype),
        )

        def unfinished(*fields):
            return tf.reduce_any(State(*fields).active)

        limit = self.max_iterations
        fields = tf.while_loop(unfinished, body, tuple(first), maximum_iterations=limit)
        last = State(*fields)
        x = tf.ensure_shape(tf.reshape(last.best_x, shape), y.shape)
        found = x, last.iterations, last.best_norm, last.converged
        return FixedPoint(*map(tf.stop_gradient, found))

    def get_config(self) -> dict[str, Any]:
        return {"tolerance": self.tolerance, "max_iterations": self.max_iterations}


def select_rows(condition: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns the rows of ``a`` where the condition ``[batch]`` is true, else those of ``b``.

    It copies whole rows, while `tf.where` selects every element.
    """
    return tf.raw_ops.Select(condition=condition, x=a, y=b)
