"""The gradient of the inverse, by the implicit function theorem."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import event_axes
from iresnet_tf.numerics.maps import Map
from iresnet_tf.numerics.solvers.solver import Solver


def implicit_gradient(g: Map, y: tf.Tensor, x: tf.Tensor, solver: Solver) -> tf.Tensor:
    """Returns ``x`` with the gradient of ``F⁻¹`` at ``y``, whichever solver found it.

    ``x + g(x) = y`` gives ``dx = (I + J)⁻¹ (dy − ∂_θ g dθ)``.  So a cotangent ``c`` of ``x``
    becomes ``w`` for ``y`` and ``−w`` for ``g(x; θ)``, where ``(I + J)ᵀ w = c``.  The solver
    solves that linear equation too; no iteration is unrolled.

    Args:
        g: the residual branch, with a ``linearize`` method.
        y: the point that was inverted, ``[batch, …event]``.
        x: its preimage, as found.
        solver: of the adjoint equation.

    Returns:
        ``x``, differentiable once with respect to ``y`` and to what ``g`` was made of.

    Source: the implicit function theorem; Bai et al. 2019 (arXiv:1909.01377) for its use.
    """
    x = tf.stop_gradient(x)
    linearization = g.linearize(x)

    @tf.custom_gradient
    def attach(step: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        del step

        def gradient(cotangent: tf.Tensor) -> tf.Tensor:
            scale = tf.reduce_max(tf.abs(cotangent), axis=event_axes(cotangent), keepdims=True)
            unit = tf.math.divide_no_nan(cotangent, scale)
            # A gradient has no tolerance of its own: it is solved to rounding.
            tolerance = 16.0 * np.finfo(cotangent.dtype.as_numpy_dtype).eps
            found = solver(linearization.vjp, unit, tolerance=tolerance, subsets=False)
            return scale * found.x

        return tf.identity(x), gradient

    return attach(y - linearization.value)
