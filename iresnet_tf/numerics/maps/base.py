"""What a map is: a function of a batch with written-out Jacobian products.

    value = g(x),   jvp: v ↦ J(x) v,   vjp: w ↦ J(x)ᵀ w

Log-determinant estimators, solvers and implicit gradients need nothing else of ``g``.  A map
that is built from linear operators and activations writes its products out, so that they cost
one pass of the linear chain and never evaluate ``g`` again; `Automatic` finds them by automatic
differentiation for any other function.
"""

import abc
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import event_norm
from iresnet_tf.numerics.structure import Structure


class Linearization(NamedTuple):
    """The value and the two Jacobian products of a map at one batch ``x``.

    Both products take vectors of the shape of ``x`` or of the value, and extra leading axes
    (``[probes, batch, …]``).  All of it is differentiable once more.

    Attributes:
        value: ``g(x)``, ``[batch, …]``.
        jvp: ``v ↦ J v``.
        vjp_in: ``dtype ↦ (w ↦ Jᵀ w)`` for vectors ``w`` of a dtype such as ``bfloat16``; what
            the product multiplies by is cast once.
    """

    value: tf.Tensor
    jvp: Callable[[tf.Tensor], tf.Tensor]
    vjp_in: Callable[[tf.DType], Callable[[tf.Tensor], tf.Tensor]]

    @property
    def vjp(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """``w ↦ Jᵀ w`` in the dtype of the value."""
        return self.vjp_in(self.value.dtype)


class Map(Structure, abc.ABC):
    """A function ``[batch, …] → [batch, …]`` that treats each sample by itself.

    A subclass lists its tensors as fields (see `Structure`) and gives `linearize`.  The other
    methods have defaults that are right for an elementwise function; a map whose rounding, cost
    or grid is another one overrides them.
    """

    @abc.abstractmethod
    def linearize(self, x: tf.Tensor) -> Linearization:
        """Returns the value and the Jacobian products at ``x [batch, …]``."""

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the value at ``x [batch, …]``."""
        return self.linearize(x).value

    def rounding_gain(self) -> float | tf.Tensor:
        """Returns ``γ`` for which the value's rounding is at most ``ε γ ‖x‖``: see below."""
        return 4.0

    def rounding_error(self, x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Bounds how far the computed value lies from the exact one, to first order in ``ε``.

            ‖fl(g(x)) − g(x)‖₂ ≲ ε (γ ‖x‖₂ + 4 ‖g(x)‖₂ + √D)

        ``D`` is the dimension of the value.  The last term is for what an activation computes
        from numbers near one, as ``exp(x) − 1``.

        Args:
            x: ``[batch, …]``.
            value: ``g(x)`` as it was computed.

        Returns:
            ``[batch]``, in the dtype of ``x``.

        Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", §3.
        """
        epsilon = np.finfo(x.dtype.as_numpy_dtype).eps
        error = epsilon * (self.rounding_gain() * event_norm(x) + 4.0 * event_norm(value))
        return error + epsilon * np.sqrt(value.shape[1:].num_elements())

    def multiplications(self, pixels: int) -> int:
        """Returns the number of multiplications of one evaluation at ``pixels`` pixels.

        Only products with kernels count, which take nearly all of the time.
        """
        del pixels
        return 0

    def takes_any_grid(self) -> bool:
        """Whether the same function may be evaluated at images of another height and width."""
        return False


def diagonal(value: tf.Tensor, derivative: tf.Tensor) -> Linearization:
    """Returns the linearization of an elementwise map, given ``φ(x)`` and ``φ'(x)``."""

    def product_in(dtype):
        return functools.partial(diagonal_product, tf.cast(derivative, dtype))

    return Linearization(value, product_in(value.dtype), product_in)


def diagonal_product(diagonal: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
    """Returns ``diagonal · v`` for ``v`` of the same shape or ``[probes, batch, …]``."""
    if v.shape.rank == diagonal.shape.rank or v.shape[1] == 1:
        return diagonal * v
    return _product_over_probes(diagonal, v)


@tf.custom_gradient
def _product_over_probes(diagonal, v):
    """Multiplies, with a gradient by ``add_n``: a sum over a short leading axis is slow."""

    def gradient(cotangent):
        return tf.add_n(tf.unstack(cotangent * v)), cotangent * diagonal

    return diagonal * v, gradient
