"""Solvers of the inverse of a residual block, ``x + g(x) = y``."""

from typing import Any

import keras

from iresnet_tf.numerics.solvers.anderson import Anderson
from iresnet_tf.numerics.solvers.implicit import implicit_gradient
from iresnet_tf.numerics.solvers.picard import Picard
from iresnet_tf.numerics.solvers.solver import FixedPoint, Solver, State

__all__ = ["Anderson", "FixedPoint", "Picard", "Solver", "State", "get", "implicit_gradient"]


def get(identifier: Solver | dict[str, Any]) -> Solver:
    """Returns a solver that is given as an object or as its serialised configuration.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(identifier, Solver):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        "solver is a solver, for example Anderson(tolerance=1e-6) or Picard(); received "
        f"{identifier!r}."
    )
