"""Derivatives of the inverse, by the implicit function theorem."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import event_axes
from iresnet_tf.numerics.maps import Map
from iresnet_tf.numerics.orders import refuse_derivatives
from iresnet_tf.numerics.solvers.solver import Solver
from iresnet_tf.numerics.structure import Signature, tensors_of

THIRD_ORDER = (
    "Derivatives of the inverse are of first and second order; a third one was asked for. Take the "
    "derivatives of the forward map at the preimage instead."
)


def implicit_gradient(g: Map, y: tf.Tensor, x: tf.Tensor, solver: Solver) -> tf.Tensor:
    """Returns ``x`` with the derivatives of ``F⁻¹`` at ``y``, whichever solver found it.

    ``x + g(x) = y`` gives ``dx = (I + J)⁻¹ (dy − ∂_θ g dθ)``.  So a cotangent ``c`` of ``x``
    becomes ``w`` for ``y`` and ``−w`` for ``g(x; θ)``, where ``(I + J)ᵀ w = c``.  That equation
    gives the second order in the same way: a cotangent ``d`` of ``w`` becomes ``u`` for ``c`` and
    ``−u`` for ``Jᵀ w``, where ``(I + J) u = d``.  The solver solves both linear equations; no
    iteration is unrolled.

    Args:
        g: the residual branch.
        y: the point that was inverted, ``[batch, …event]``.
        x: its preimage, as found.
        solver: of the adjoint equations.

    Returns:
        ``x``, twice differentiable with respect to ``y`` and to what ``g`` was made of; a third
        derivative fails: see `refuse_derivatives`.

    Source: the implicit function theorem; Bai et al. 2019 (arXiv:1909.01377) for its use.
    """
    signature = Signature(g)

    def map_of(tensors):
        return g if signature.is_opaque else signature.rebuild(tensors)

    @tf.custom_gradient
    def attach(step: tf.Tensor, x: tf.Tensor, *tensors: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(cotangent: tf.Tensor) -> list[tf.Tensor | None]:
            # A gradient is traced in a graph of its own, where nested ones need its tensors.
            inner = [tf.identity(tensor) for tensor in (step, x, *tensors)]
            own = map_of(inner[2:])
            w = _linear_solution(own.linearize(inner[1]).vjp, cotangent, solver)
            # The equation at an x that depends on y; evaluated for second derivatives alone.
            equation = cotangent - own.linearize(attach(*inner)).vjp(w)
            return [attach_adjoint(equation, w, *inner[1:]), *[None] * (len(inner) - 1)]

        return tf.identity(x), gradient

    @tf.custom_gradient
    def attach_adjoint(
        step: tf.Tensor, w: tf.Tensor, x: tf.Tensor, *tensors: tf.Tensor
    ) -> tuple[tf.Tensor, Callable]:
        def gradient(cotangent: tf.Tensor) -> list[tf.Tensor | None]:
            inner = [tf.identity(tensor) for tensor in (step, x, *tensors)]
            u = _linear_solution(map_of(inner[2:]).linearize(inner[1]).jvp, cotangent, solver)
            u = refuse_derivatives(u, cotangent, inner[0], message=THIRD_ORDER)
            return [u, *[None] * len(inner)]

        return tf.identity(w), gradient

    x = tf.stop_gradient(x)
    return attach(y - g(x), x, *tensors_of(g))


def _linear_solution(product, right, solver):
    """Returns ``z`` with ``z + product(z) = right``, solved to rounding, without a gradient."""
    scale = tf.reduce_max(tf.abs(right), axis=event_axes(right), keepdims=True)
    unit = tf.math.divide_no_nan(right, scale)
    tolerance = 16.0 * np.finfo(right.dtype.as_numpy_dtype).eps
    return tf.stop_gradient(scale * solver(product, unit, tolerance=tolerance, subsets=False).x)
