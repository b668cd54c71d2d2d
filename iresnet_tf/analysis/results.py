"""The base class of the results of evaluations and studies."""

import dataclasses
import decimal
import math
from typing import Any

import numpy as np

NOT_IN_JSON = {"json": False}
"""Metadata of a field that `Result.as_dict` leaves out."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A result whose fields are typed numbers; a subclass is a frozen dataclass."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as plain data for JSON.

        JSON has no infinity and no NaN: both become ``None``.
        """
        fields = [field for field in dataclasses.fields(self) if field.metadata != NOT_IN_JSON]
        return {field.name: _plain(getattr(self, field.name)) for field in fields}


def rounded_up(bound: float, digits: int) -> str:
    """Returns an upper bound as text, rounded up to ``digits`` significant digits.

    Rounded to the nearest, 0.9424 would become 0.942, which is not an upper bound.
    """
    context = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
    return f"{float(context.create_decimal(repr(float(bound)))):.{digits}g}"


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.as_dict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
