"""Options and results of an inverse."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import dimension_of, event_norm


@dataclasses.dataclass(frozen=True)
class InverseOptions:
    """The options of an inverse, which a stack passes to its layers.

    Attributes:
        block_tolerance: root mean square error that each residual block may add to a sample, in
            the units of the layer's input; ``None`` for the tolerance of its solver.
        context: ``[batch, …context_shape]``, for conditional layers.
        path_steps: number of points on each path of a batch of paths: see
            `iresnet_tf.numerics.solvers.paths`.
        initial: ``[batch, …event]``, the first iterate of a block; ``None`` for ``y``.
    """

    block_tolerance: float | tf.Tensor | None = None
    context: tf.Tensor | None = None
    path_steps: int | None = None
    initial: tf.Tensor | None = None


class InverseResult(NamedTuple):
    """A preimage and its accuracy, for each sample.

    Attributes:
        x: ``[batch, …event]``.
        iterations: int32 ``[batch]``, the number of evaluations of ``g``.
        residual: ``[batch]``, ``‖F(x) − y‖₂`` at the returned ``x``.
        converged: bool ``[batch]``, whether the solver met its tolerance.
        error_bound: ``[batch]``, an upper bound on ``‖x − F⁻¹(y)‖₂``, rounding included; ``inf`` if
            a residual branch is not certified to be a contraction, and always in a function that
            XLA compiles.
    """

    x: tf.Tensor
    iterations: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor
    error_bound: tf.Tensor

    @classmethod
    def exact(cls, x: tf.Tensor, *terms) -> "InverseResult":
        """Returns the result of an inverse by a formula, whose only error is rounding.

        Args:
            x: ``[batch, …event]``.
            *terms: the summands of ``x``, if it is a sum; each is rounded a few times.
        """
        batch = tf.shape(x)[:1]
        number = np.finfo(x.dtype.as_numpy_dtype)
        error = tf.zeros(batch, x.dtype)
        for term in terms:
            summand = tf.broadcast_to(tf.cast(term, x.dtype), tf.shape(x))
            error += 8.0 * number.eps * event_norm(summand)
            # Products below the smallest normal number may be computed as zero.
            error += 8.0 * number.tiny * np.sqrt(dimension_of(x))
        zero = tf.zeros(batch, x.dtype)
        one = tf.ones(batch, tf.bool)
        return cls(x, tf.zeros(batch, tf.int32), zero, one, tf.stop_gradient(error))
