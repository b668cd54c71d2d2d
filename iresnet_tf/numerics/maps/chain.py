"""Affine maps, shifts and compositions, of which contractions are made."""

import functools

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import dimension_of
from iresnet_tf.numerics.maps.base import Linearization, Map, Rounding
from iresnet_tf.numerics.maps.operators import Operator
from iresnet_tf.numerics.structure import Rows


class Affine(Map):
    """``x ↦ A x + b`` with one bias for each output channel, or ``None``."""

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

    def rounded(self, rounding: Rounding) -> Map:
        product = Affine(rounding.operator(self.operator))
        return product if self.bias is None else Composition((product, rounding.bias(self.bias)))


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
    """``x ↦ (m_K ∘ … ∘ m_1)(x)`` of maps ``m_1, …, m_K``; its products follow the chain rule."""

    maps: tuple[Map, ...]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return _in_turn(x, self.maps)

    def linearize(self, x: tf.Tensor) -> Linearization:
        parts = []
        for part in self.maps:
            parts.append(part.linearize(x))
            x = parts[-1].value
        return _composed(x, parts)

    def linearize_at(self, x: tf.Tensor, rows: Rows) -> tuple[tf.Tensor, Linearization]:
        parts = []
        for part in self.maps:
            x, linearization = part.linearize_at(x, rows)
            parts.append(linearization)
        return x, _composed(rows.of_rows(x), parts)

    def rounding_error(self, x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Adds up the rounding errors of the maps.

        Later maps do not enlarge an error: every map of a contraction has a Lipschitz constant of
        at most about one.
        """
        total = tf.zeros(tf.shape(x)[:1], x.dtype)
        for part in self.maps:
            image = part(x)
            total += part.rounding_error(x, image)
            x = image
        return total

    def multiplications(self, pixels: int) -> int:
        return sum(part.multiplications(pixels) for part in self.maps)

    def takes_any_grid(self) -> bool:
        return all(part.takes_any_grid() for part in self.maps)

    def rounded(self, rounding: Rounding) -> Map:
        return Composition(rounding.joined([part.rounded(rounding) for part in self.maps]))


def _composed(value, parts):
    """Returns the linearization of a composition with that value, given those of its maps."""

    def jvp(v):
        return _in_turn(v, [part.jvp for part in parts])

    def vjp_in(dtype):
        products = [part.vjp_in(dtype) for part in reversed(parts)]
        return lambda w: _in_turn(w, products)

    return Linearization(value, jvp, vjp_in)


def _in_turn(v, functions):
    return functools.reduce(lambda v, function: function(v), functions, v)
