"""Maps that are computed from stored weights before they are applied."""

import abc

import tensorflow as tf

from iresnet_tf.numerics.maps.base import Linearization, Map, Rounding
from iresnet_tf.numerics.structure import replaced


class Derived(Map):
    """A map that holds the tensors from which another map, its value, is computed.

    A compiled function computes the map once, with `derived`, before it applies it to a batch.  Any
    other call computes it anew.
    """

    @abc.abstractmethod
    def derive(self) -> Map:
        """Returns the map that is applied."""

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.derive()(x)

    def linearize(self, x: tf.Tensor) -> Linearization:
        return self.derive().linearize(x)

    def rounding_gain(self) -> float | tf.Tensor:
        return self.derive().rounding_gain()

    def rounding_error(self, x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        return self.derive().rounding_error(x, value)

    def multiplications(self, pixels: int) -> int:
        return self.derive().multiplications(pixels)

    def takes_any_grid(self) -> bool:
        return self.derive().takes_any_grid()

    def rounded(self, rounding: Rounding) -> Map:
        return self.derive().rounded(rounding)


def derived(g: Map) -> Map:
    """Returns a map with what every `Derived` part of it computes in the place of that part."""
    return replaced(g, Derived, lambda part: part.derive())
