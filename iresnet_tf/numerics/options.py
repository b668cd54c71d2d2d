"""Checks of the numbers that layers, models, estimators and solvers take as options."""

import math
from typing import Any

import numpy as np


def require_integer(name: str, value: Any, least: int = 1) -> int:
    """Returns the value of the option ``name``; raises `ValueError` unless it is such an integer.

    A float that is a whole number is taken for the integer.
    """
    if not (_is_number(value) and float(value).is_integer() and value >= least):
        raise ValueError(f"{name} is an integer of at least {least}; received {value!r}.")
    return int(value)


def require_integer_or_auto(name: str, value: Any) -> int | str:
    """Returns an integer of at least 1, or ``"auto"``; raises `ValueError` for anything else."""
    if not isinstance(value, str):
        return require_integer(name, value)
    if value != "auto":
        raise ValueError(f'{name} is an integer or "auto"; received {value!r}.')
    return value


def require_positive(name: str, value: Any, takes: str, below: float = math.inf) -> float:
    """Returns a number between 0 and ``below`` (both exclusive); raises `ValueError` otherwise.

    Args:
        name: of the option.
        value: of the option.
        takes: what the option takes, in words.
        below: the upper limit.
    """
    if not (_is_number(value) and 0.0 < value < below):
        raise ValueError(f"{name} is {takes}; received {value!r}.")
    return float(value)


def _is_number(value):
    """Returns whether the value is one real number: of Python, of NumPy or of TensorFlow."""
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "iuf"
