"""Measures the time of a run."""

import time
from collections.abc import Mapping


class Stopwatch:
    """Measures wall and processor time from its creation, added to the time of earlier parts."""

    def __init__(self) -> None:
        self._began = {"wall_seconds": time.monotonic(), "cpu_seconds": time.process_time()}
        self._before = dict.fromkeys(self._began, 0.0)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds the time of an earlier part of the run."""
        self._before = {name: self._before[name] + seconds[name] for name in self._before}

    def read(self) -> dict[str, float]:
        """Returns ``wall_seconds`` and ``cpu_seconds``."""
        now = {"wall_seconds": time.monotonic(), "cpu_seconds": time.process_time()}
        return {
            name: round(self._before[name] + now[name] - began, 1)
            for name, began in self._began.items()
        }
