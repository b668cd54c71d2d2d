"""The base of the studies' results, and their form as plain data."""

import dataclasses
import math
from typing import Any

NOT_SAVED = {"saved": False}
"""Metadata of a field that `Study.as_dict` leaves out."""


class Study:
    """Base of the results of studies, which are frozen dataclasses."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers as plain data for a JSON file.

        Results inside it become dicts, sequences become lists, and numbers that are not finite,
        which JSON has no word for, become ``None``.
        """
        return _plain(self)


def finite_or_none(value: float) -> float | None:
    """Returns a number, or ``None`` if it is not finite."""
    return float(value) if math.isfinite(value) else None


def _plain(value):
    if dataclasses.is_dataclass(value):
        saved = (field for field in dataclasses.fields(value) if field.metadata != NOT_SAVED)
        return {field.name: _plain(getattr(value, field.name)) for field in saved}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return finite_or_none(value) if isinstance(value, float) else value
