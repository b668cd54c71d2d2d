"""The maps that a contraction is made of: affine maps, shifts, and their composition."""

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import dimension_of
from iresnet_tf.numerics.maps.base import Linearization, Map
from iresnet_tf.numerics.maps.operators import Operator


class Affine(Map):
    """``x ↦ A x + b``.

    Attributes:
        operator: ``A``.
        bias: tensor, one number for each channel of the result, or ``None``.
    """

    operator: Operator
    bias: tf.Tensor | None = None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        image = self.operator(x)
        return image if self.bias is None else tf.nn.bias_add(image, self.bias)

    def linearize(self, x: tf.Tensor) -> Linearization:
        return Linearization(self(x), self.operator, self.operator.adjoint_in)

    def rounding_gain(self) -> float | tf.Tensor:
        return self.operator.rounding_gain()

    def multiplications(self, pixels: int) -> int:
        return self.operator.multiplications(pixels)

    def takes_any_grid(self) -> bool:
        return self.operator.takes_any_grid()


class Shift(Map):
    """``x ↦ x + b`` with one ``b`` for each sample of the batch.

    Attributes:
        offset: ``b``, ``[batch, …]``, or ``[1, …]`` for all samples alike; broadcasts over the
            result.
        offset_error: bound on the 2-norm of the rounding of ``b``, ``[batch]`` or ``[1]``.
    """

    per_sample = ("offset", "offset_error")

    offset: tf.Tensor
    offset_error: tf.Tensor

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return x + self.offset

    def linearize(self, x: tf.Tensor) -> Linearization:
        return Linearization(self(x), _unchanged, lambda dtype: _unchanged)

    def rounding_error(self, x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Adds the rounding of ``b`` at each pixel that it is added to."""
        pixels = np.sqrt(dimension_of(x) / x.shape[-1])
        return super().rounding_error(x, value) + pixels * self.offset_error


def _unchanged(v):
    return v


class Composition(Map):
    """``x ↦ (m_K ∘ … ∘ m_1)(x)``; its products follow the chain rule.

    Attributes:
        maps: ``m_1, …, m_K``.
    """

    maps: tuple[Map, ...]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        for each in self.maps:
            x = each(x)
        return x

    def linearize(self, x: tf.Tensor) -> Linearization:
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

    def rounding_error(self, x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Adds up what each map rounds.

        What follows does not enlarge it: every map of a contraction has a Lipschitz constant of
        at most about one.
        """
        del value
        total = tf.zeros(tf.shape(x)[:1], x.dtype)
        for each in self.maps:
            image = each(x)
            total += each.rounding_error(x, image)
            x = image
        return total

    def multiplications(self, pixels: int) -> int:
        return sum(each.multiplications(pixels) for each in self.maps)

    def takes_any_grid(self) -> bool:
        return all(each.takes_any_grid() for each in self.maps)


def _in_turn(v, functions):
    for function in functions:
        v = function(v)
    return v
