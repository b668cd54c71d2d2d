"""The linearization of a map at a point: its value and its two Jacobian products.

    value = g(x),   jvp: v ↦ J(x) v,   vjp: w ↦ J(x)ᵀ w

Estimators of the log-determinant, solvers and implicit gradients need nothing
else of ``g``.  Maps built from linear operators and activations write their
linearization out, so the products cost one pass of the linear chain and never
evaluate ``g`` again; any other function falls back on automatic
differentiation.  Both products take extra leading axes
(``[probes, batch, …]``), and everything is differentiable once more.

Maps are `NamedTuple`s of tensors: a `tf.function` takes one as an argument.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


class Linearization(NamedTuple):
    """``g(x)``, ``v ↦ J v`` and ``w ↦ Jᵀ w`` at one point ``x``.

    ``vjp_in(dtype)`` makes the last for vectors ``w`` of a dtype, as ``bfloat16``: what it
    multiplies by is cast once.
    """

    value: tf.Tensor
    jvp: Callable[[tf.Tensor], tf.Tensor]
    vjp_in: Callable[[tf.DType], Callable[[tf.Tensor], tf.Tensor]]

    @property
    def vjp(self):
        """``w ↦ Jᵀ w`` in the dtype of the value."""
        return self.vjp_in(self.value.dtype)


class Affine(NamedTuple):
    """``x ↦ A x + b``.

    Attributes:
        operator: of `iresnet_tf.numerics.maps.operators`.
        bias: tensor, one number a channel of the result, or ``None``.
    """

    operator: Any
    bias: Any = None

    def __call__(self, x):
        image = self.operator(x)
        return image if self.bias is None else tf.nn.bias_add(image, self.bias)

    def linearize(self, x):
        return Linearization(self(x), self.operator, self.operator.adjoint_in)


class Shift(NamedTuple):
    """``x ↦ x + b`` with a ``b`` of its own for each sample of the batch.

    Attributes:
        offset: tensor ``[batch, …]``, or ``[1, …]`` for all samples alike; broadcasts over the
            result.
    """

    offset: tf.Tensor

    def __call__(self, x):
        return x + self.offset

    def linearize(self, x):
        return Linearization(self(x), _unchanged, lambda dtype: _unchanged)


def _unchanged(v):
    return v


def diagonal_product(diagonal, v):
    """``diagonal · v`` for ``v`` of the same shape or ``[probes, batch, …]``."""
    if v.shape.rank == diagonal.shape.rank or v.shape[1] == 1:
        return diagonal * v
    return _product_over_probes(diagonal, v)


@tf.custom_gradient
def _product_over_probes(diagonal, v):
    """Written out because a sum over a short leading axis is slow where ``add_n`` is not."""

    def gradient(cotangent):
        return tf.add_n(tf.unstack(cotangent * v)), cotangent * diagonal

    return diagonal * v, gradient


class Composition(NamedTuple):
    """``x ↦ (m_K ∘ … ∘ m_1)(x)`` with the chain rule for its products."""

    maps: tuple

    def __call__(self, x):
        for each in self.maps:
            x = each(x)
        return x

    def linearize(self, x):
        parts = []
        for each in self.maps:
            parts.append(each.linearize(x))
            x = parts[-1].value

        def jvp(v):
            return _in_turn(v, [part.jvp for part in parts])

        def vjp_in(dtype):
            products = [part.vjp_in(dtype) for part in reversed(parts)]
            return lambda w: _in_turn(w, products)

        return Linearization(x, jvp, vjp_in)


def _in_turn(v, functions):
    for function in functions:
        v = function(v)
    return v


class Automatic(NamedTuple):
    """Any function of a batch, linearized by automatic differentiation.

    ``Jᵀ w`` is a backward pass; ``J v`` is the derivative of ``w ↦ Jᵀ w``,
    which is linear in ``w`` (the double-backward construction).  The function
    must treat the samples of a batch independently.

    Attributes:
        function: ``[batch, …] → [batch, …]``.
    """

    function: Callable[[tf.Tensor], tf.Tensor]

    def __call__(self, x):
        return self.function(x)

    def linearize(self, x):
        x = tf.convert_to_tensor(x)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
            with tf.GradientTape(persistent=True, watch_accessed_variables=False) as inner:
                inner.watch(x)
                value = self.function(x)
            dual = tf.zeros_like(value)
            outer.watch(dual)
            transposed = inner.gradient(value, x, dual, unconnected_gradients="zero")

        def vjp(w):
            return inner.gradient(value, x, w, unconnected_gradients="zero")

        def jvp(v):
            return outer.gradient(transposed, dual, v, unconnected_gradients="zero")

        vjp = _over_probes(vjp, value)

        def vjp_in(dtype):
            return lambda w: tf.cast(vjp(tf.cast(w, value.dtype)), dtype)

        return Linearization(value, _over_probes(jvp, x), vjp_in)


def _over_probes(product, like):
    """Extends a product of vectors like ``like``, ``[batch, …]``, to ``[probes, batch, …]``."""

    def extended(v):
        if v.shape.rank == like.shape.rank:
            return product(v)
        full = tf.concat([tf.shape(v)[:1], tf.shape(like)], 0)
        probes = tf.unstack(tf.broadcast_to(v, full), num=v.shape[0])
        return tf.stack([product(probe) for probe in probes])

    return extended
