"""The contract of a map: a function of a batch with Jacobian products.

    value = g(x),   jvp: v ↦ J(x) v,   vjp: w ↦ J(x)ᵀ w

Log-determinant estimators, solvers and implicit gradients need nothing else of ``g``.  The products
of maps that are built from linear operators and activations are explicit: they cost one pass of
the linear chain and never evaluate ``g`` again.  `Automatic` differentiates any other function.
"""

import abc
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import event_norm
from iresnet_tf.numerics.maps.operators import Operator
from iresnet_tf.numerics.maps.rounding import dithered
from iresnet_tf.numerics.structure import Rows, Structure


class Linearization(NamedTuple):
    """The value and the two Jacobian products of a map at one batch ``x``.

    ``v`` has the shape of ``x`` and ``w`` that of the value; both may have extra leading axes
    (``[probes, batch, …]``).  Value and products are differentiable once more.

    Attributes:
        value: ``g(x)``, ``[batch, …]``.
        jvp: ``v ↦ J v``.
        vjp_in: ``dtype ↦ (w ↦ Jᵀ w)`` for vectors ``w`` of that dtype, for example bfloat16; the
            factors of the product are cast once.
    """

    value: tf.Tensor
    jvp: Callable[[tf.Tensor], tf.Tensor]
    vjp_in: Callable[[tf.DType], Callable[[tf.Tensor], tf.Tensor]]

    @property
    def vjp(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """The product ``w ↦ Jᵀ w`` in the dtype of the value."""
        return self.vjp_in(self.value.dtype)


class Rounding(Protocol):
    """Rounds the tensors of maps to bfloat16: see `iresnet_tf.numerics.maps.in_bfloat16`."""

    def operator(self, operator: Operator) -> Operator:
        """Returns an operator whose products have factors and results in bfloat16."""

    def bias(self, bias: tf.Tensor) -> "Map":
        """Returns the map that adds a bias, in float32, to each channel."""

    def activation(self, function: "Map") -> "Map":
        """Returns an elementwise map, whose tensors are scalars, in one pass over memory."""

    def between_casts(self, function: "Map") -> "Map":
        """Returns a map that computes in float32, between casts."""

    def joined(self, parts: Sequence["Map"]) -> tuple["Map", ...]:
        """Returns the rounded maps of a composition, with fewer passes over memory."""


class Map(Structure, abc.ABC):
    """A function ``[batch, …] → [batch, …]`` that treats samples independently.

    A subclass lists its tensors as fields (see `Structure`) and defines `linearize`.  The defaults
    of the other methods suit an elementwise function; other maps override them.
    """

    @abc.abstractmethod
    def linearize(self, x: tf.Tensor) -> Linearization:
        """Returns the value and the Jacobian products at ``x [batch, …]``."""

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the value at ``x [batch, …]``."""
        return self.linearize(x).value

    def linearize_at(self, x: tf.Tensor, rows: Rows) -> tuple[tf.Tensor, Linearization]:
        """Returns the value at ``x [batch, …]``, and the linearization at some rows of ``x``.

        A graph drops what nothing uses, such as the value of this linearization.

        Args:
            x: the samples.
            rows: those at which the map is linearized.
        """
        return self(x), self.at_rows(rows).linearize(rows.of_rows(x))

    def rounding_gain(self) -> float | tf.Tensor:
        """Returns the factor ``γ`` of `rounding_error`."""
        return 4.0

    def rounding_error(self, x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Bounds the distance of the computed value to the exact one, to first order in ``ε``.

            ‖fl(g(x)) − g(x)‖₂ ≲ ε (γ ‖x‖₂ + 4 ‖g(x)‖₂ + √D)

        ``D`` is the dimension of the value.  The last term accounts for activations that
        subtract numbers near one, for example ``exp(x) − 1``.

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
        """Returns the number of multiplications by kernels, which dominate, at so many pixels."""
        return 0

    def takes_any_grid(self) -> bool:
        """Returns whether the map also applies to images of another height and width."""
        return False

    def rounded(self, rounding: Rounding) -> "Map":
        """Returns the map for vectors and values in bfloat16.

        The default computes in float32, between casts.  A map overrides it if it also computes in
        bfloat16, with a value that is as good as its rounding.

        Args:
            rounding: rounds the tensors of the map.
        """
        return rounding.between_casts(self)


class InDtype(Map):
    """``x ↦ g(x)``, computed in a dtype between casts of ``x`` and of the value.

    Attributes:
        function: ``g``.
        dtype: name of the dtype in which ``g`` computes.
        offset: of `dithered`, which rounds the value if it is in bfloat16; ``None`` to round it to
            the nearest.
    """

    function: Map
    dtype: str
    offset: tf.Tensor | None = None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self._cast(self.function(tf.cast(x, self.dtype)), x.dtype)

    def linearize(self, x: tf.Tensor) -> Linearization:
        return self._between_casts(self.function.linearize(tf.cast(x, self.dtype)), x.dtype)

    def linearize_at(self, x: tf.Tensor, rows: Rows) -> tuple[tf.Tensor, Linearization]:
        value, inner = self.function.linearize_at(tf.cast(x, self.dtype), rows)
        return self._cast(value, x.dtype), self._between_casts(inner, x.dtype)

    def _between_casts(self, inner, dtype):
        product = inner.vjp_in(tf.as_dtype(self.dtype))

        def jvp(v):
            return tf.cast(inner.jvp(tf.cast(v, self.dtype)), v.dtype)

        def vjp_in(dtype):
            return lambda w: tf.cast(product(tf.cast(w, self.dtype)), dtype)

        return Linearization(self._cast(inner.value, dtype), jvp, vjp_in)

    def _cast(self, value, dtype):
        return tf.cast(value, dtype) if self.offset is None else dithered(value, self.offset)

    def rounding_gain(self) -> float | tf.Tensor:
        if tf.as_dtype(self.dtype).size < 4:
            raise ValueError(
                f"Maps in {self.dtype} have no bound on their rounding here, because they are "
                "meant for training steps. Invert the map of the original kernels."
            )
        return self.function.rounding_gain()

    def multiplications(self, pixels: int) -> int:
        return self.function.multiplications(pixels)

    def takes_any_grid(self) -> bool:
        return self.function.takes_any_grid()


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
