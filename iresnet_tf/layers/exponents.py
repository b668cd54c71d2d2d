"""Exponents of the p-norms in which layers have bounds."""

from collections.abc import Callable

import tensorflow as tf


class Exponent:
    """The exponent ``p`` of a norm, from 1 to infinity, stored as ``1/p`` in ``[0, 1]``.

    Fixed exponents with the same value are equal; a learned exponent equals only itself.

    Args:
        reciprocal: ``1/p``, a float; for a learned exponent a function that returns it as a
            scalar tensor.
    """

    def __init__(self, reciprocal: float | Callable[[], tf.Tensor]) -> None:
        self._reciprocal = reciprocal

    @property
    def is_learned(self) -> bool:
        """Whether the exponent changes with the weights."""
        return callable(self._reciprocal)

    def reciprocal(self) -> float | tf.Tensor:
        """Returns the current ``1/p``: a float, or a scalar tensor if it is learned."""
        return self._reciprocal() if callable(self._reciprocal) else self._reciprocal

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Exponent) or self.is_learned or other.is_learned:
            return self is other
        return self._reciprocal == other._reciprocal

    def __hash__(self) -> int:
        return id(self) if self.is_learned else hash(self._reciprocal)

    def __str__(self) -> str:
        if callable(self._reciprocal):
            return "learned"
        return f"{1.0 / self._reciprocal:g}" if self._reciprocal else "inf"


EUCLIDEAN = Exponent(0.5)
