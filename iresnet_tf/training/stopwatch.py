"""Measures the time of a run."""

import time
from collections.abc import Mapping


class Stopwatch:
    """Measures wall and processor time from its creation, added to the time of earlier parts."""

    def __init__(self) -> None:
        self._began = _now()

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds the time of an earlier part of the run."""
        self._began = {name: began - seconds[name] for name, began in self._began.items()}

    def read(self) -> dict[str, float]:
        """Returns ``wall_seconds`` and ``cpu_seconds``."""
        return {name: round(now - self._began[name], 1) for name, now in _now().items()}


def _now():
    return {"wall_seconds": time.monotonic(), "cpu_seconds": time.process_time()}
