"""The solvers of the inverse, `Picard` and `Anderson`, and its implicit gradient."""

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.solvers.anderson import Anderson
from iresnet_tf.numerics.solvers.solver import FixedPoint, Picard, Solver

__all__ = ["Anderson", "FixedPoint", "Picard", "Solver", "get", "implicit_gradient"]


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
            found = solver(linearization.vjp, unit, tolerance=tolerance, subsets=False)
            return scale * found.x

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
