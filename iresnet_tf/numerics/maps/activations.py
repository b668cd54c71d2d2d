"""Activations as maps, with explicit Jacobian products.

An elementwise ``φ`` acts on a tangent as a product with ``φ'``.  Derivatives are written out where
TensorFlow's own take more operations.
"""

import tensorflow as tf

from iresnet_tf.numerics.maps.base import (
    Linearization,
    Map,
    Rounding,
    diagonal,
    diagonal_product,
)
from iresnet_tf.numerics.maps.swish import SWISH_SCALE, swish, swish_value


def _elu(x):
    value = tf.nn.elu(x)

    def product_in(dtype):
        # The graph drops the slope if no product uses it.
        slope = tf.cast(_elu_slope(value), dtype)

        def product(v):
            has_one_probe = v.shape.rank > value.shape.rank and v.shape[0] == 1
            outputs = tf.expand_dims(value, 0) if has_one_probe else value
            if dtype == value.dtype and v.shape.as_list() == outputs.shape.as_list():
                return _elu_product(outputs, v)
            return diagonal_product(slope, v)

        return product

    return Linearization(value, product_in(value.dtype), product_in)


@tf.custom_gradient
def _elu_product(value, v):
    """Returns the product ``(1 + min(φ, 0)) v`` of ELU's slope with ``v``, given its value ``φ``.

    The slope is neither computed nor kept.
    """

    def gradient(cotangent):
        to_value = tf.raw_ops.ReluGrad(gradients=cotangent * v, features=-value)
        return to_value, tf.raw_ops.EluGrad(gradients=cotangent, outputs=value)

    return tf.raw_ops.EluGrad(gradients=v, outputs=value), gradient


@tf.custom_gradient
def _elu_slope(value):
    """Returns ``1 + min(φ, 0)`` of the value ``φ``."""
    slope = 1.0 + tf.minimum(value, 0.0)
    # One operation selects the gradient; TensorFlow's own takes five.
    return slope, lambda g: tf.raw_ops.ReluGrad(gradients=g, features=1.0 - slope)


def _sigmoid(x):
    value = tf.sigmoid(x)
    return diagonal(value, value * (1.0 - value))


def _tanh(x):
    value = tf.tanh(x)
    return diagonal(value, 1.0 - tf.square(value))


# name: (x ↦ the linearization of φ at x, sup |φ'|)
_ELEMENTWISE = {
    "elu": (_elu, 1.0),
    "relu": (lambda x: diagonal(tf.nn.relu(x), tf.cast(x > 0.0, x.dtype)), 1.0),
    "softplus": (lambda x: diagonal(tf.math.softplus(x), tf.sigmoid(x)), 1.0),
    "sigmoid": (_sigmoid, 0.25),
    "tanh": (_tanh, 1.0),
    "linear": (lambda x: diagonal(x, tf.ones_like(x)), 1.0),
}

ELEMENTWISE_LIPSCHITZ = {name: constant for name, (_, constant) in _ELEMENTWISE.items()}
"""``sup |φ'|`` of every elementwise activation, by name."""

CONCATENATED_SWISH_SCALE = 1.1044
"""``sup √(s² + (1 − s)²) = 1.10436`` over slopes ``s`` of swish, rounded up."""


class _Pixelwise(Map):
    """Base of the activations, which treat each pixel independently."""

    def takes_any_grid(self) -> bool:
        return True


class Elementwise(_Pixelwise):
    """``x ↦ φ(x)`` on every element, where ``name`` is a key of `ELEMENTWISE_LIPSCHITZ`."""

    name: str

    def linearize(self, x: tf.Tensor) -> Linearization:
        return _ELEMENTWISE[self.name][0](x)

    def rounded(self, rounding: Rounding) -> Map:
        return rounding.activation(_QuickElu() if self.name == "elu" else self)


class _QuickElu(_Pixelwise):
    """ELU as ``exp(min(x, 0)) − 1 + max(x, 0)``, for values that are rounded to bfloat16.

    Its error is absolute, ``ε``.  TensorFlow's ELU has a relative one, for which XLA takes longer.
    """

    def linearize(self, x: tf.Tensor) -> Linearization:
        slope = tf.exp(tf.minimum(x, 0.0))
        return diagonal(slope - 1.0 + tf.maximum(x, 0.0), slope)


class ScaledSwish(_Pixelwise):
    """``x ↦ x σ(b x) / 1.1`` with a scalar ``slope`` ``b > 0``."""

    slope: tf.Tensor

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return swish_value(x, self.slope) * (1.0 / SWISH_SCALE)

    def linearize(self, x: tf.Tensor) -> Linearization:
        value, derivative = swish(x, self.slope)
        return diagonal(value * (1.0 / SWISH_SCALE), derivative * (1.0 / SWISH_SCALE))

    def rounded(self, rounding: Rounding) -> Map:
        return rounding.activation(self)


class ConcatenatedSwish(_Pixelwise):
    """``x ↦ [x σ(b x), −x σ(−b x)] / 1.1044`` with a scalar ``slope`` ``b > 0``.

    Before the division the second half is the first half minus ``x``.
    """

    slope: tf.Tensor

    def linearize(self, x: tf.Tensor) -> Linearization:
        value, derivative = swish(x, self.slope)
        scale = 1.0 / CONCATENATED_SWISH_SCALE
        first, second = scale * derivative, scale * (derivative - 1.0)

        def jvp(v):
            return tf.concat([diagonal_product(first, v), diagonal_product(second, v)], -1)

        def vjp_in(dtype):
            factors = tf.cast(first, dtype), tf.cast(second, dtype)
            return lambda w: tf.add_n(list(map(diagonal_product, factors, tf.split(w, 2, -1))))

        joined = scale * tf.concat([value, value - x], -1)
        return Linearization(joined, jvp, vjp_in)


class PairSort(_Pixelwise):
    """``x = [a, b] ↦ [max(a, b), min(a, b)]`` on the halves of the channels."""

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        a, b = tf.split(x, 2, axis=-1)
        return tf.concat([tf.maximum(a, b), tf.minimum(a, b)], -1)

    def linearize(self, x: tf.Tensor) -> Linearization:
        a, b = tf.split(x, 2, axis=-1)
        ordered = a >= b

        def permute(v):
            # The permutation of a pair is its own transpose.
            p, q = tf.split(v, 2, axis=-1)
            return tf.concat([tf.where(ordered, p, q), tf.where(ordered, q, p)], -1)

        return Linearization(self(x), permute, lambda dtype: permute)

    def rounded(self, rounding: Rounding) -> Map:
        return self
