"""Columns of real and of whole numbers, with bounds and missing cells."""

import math
from typing import Any

import numpy as np

from iresnet_tf.columns import cells as reading
from iresnet_tf.columns.column import Cells, Column, filled, level_box, uniform, within
from iresnet_tf.columns.kinds import Integer, Interval, Numeric
from iresnet_tf.columns.levels import Levels
from iresnet_tf.columns.smooth import Smooth

LOWER, VALUE, UPPER, MISSING = "at the lower bound", "a value", "at the upper bound", "missing"
STATES = (LOWER, VALUE, UPPER, MISSING)


class NumberColumn(Column):
    """A column of numbers: a coordinate of the value and, where cells differ, one of the state.

    The states of a cell are a value, a number at a closed bound, and missing, as far as they
    occur.  Their coordinate is `Levels` of them.  Where there is no value, the coordinate of the
    value is standard normal noise whose log-density is subtracted.

    Args:
        name, description: see `Column`.
        interval: the values that a cell may have.
        states: the states that occur, in the order of `STATES`.
        state_levels: the map of the states, or its configuration.
        value_map: the map of the values, or its configuration; with ``probabilities`` it is
            `Levels`, else `Smooth`.
        first: the number that is level 0, for `Levels`.
    """

    def __init__(
        self,
        name: str,
        description: dict[str, Any],
        interval: Interval | list,
        states: tuple[str, ...],
        state_levels: Levels | dict[str, Any],
        value_map: Levels | Smooth | dict[str, Any],
        first: float = 0.0,
    ) -> None:
        super().__init__(name, description)
        if not isinstance(interval, Interval):
            lower, upper, closed = interval
            interval = Interval(float(lower), float(upper), (bool(closed[0]), bool(closed[1])))
        if isinstance(value_map, dict):
            value_map = (Levels if "probabilities" in value_map else Smooth)(**value_map)
        self.interval, self.states, self.first = interval, tuple(states), float(first)
        levels = state_levels
        self.state_levels = Levels(**levels) if isinstance(levels, dict) else levels
        self.value_map = value_map

    @property
    def coordinates(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}: state")[: 1 + self.has_states]

    @property
    def has_states(self) -> bool:
        """Whether a cell may be something other than a value."""
        return len(self.states) > 1

    def cells(self, series: Any) -> Cells:
        x = reading.numbers(series)
        state = self.state(x)
        values = self.stored(x, state == self.states.index(VALUE))
        return (values, state) if self.has_states else (values,)

    def state(self, x: np.ndarray) -> np.ndarray:
        """Returns the index in ``states`` of the state of each number, NaN for a missing one.

        Raises:
            ValueError: for a state that the column cannot have.
        """
        interval, state = self.interval, np.full(len(x), self.states.index(VALUE), np.uint8)
        outside = (x < interval.lower) | (x > interval.upper)
        outside_interval = (
            f"lies outside {interval}, the interval of this column. Correct it, or train on a "
            "table with such values"
        )
        self._refuse(x, outside, outside_interval)
        for name, bound, closed in (
            (LOWER, interval.lower, interval.closed[0]),
            (UPPER, interval.upper, interval.closed[1]),
        ):
            here = self._is_at(x, bound)
            if not closed:
                self._refuse(x, here, outside_interval)
            if name in self.states:
                state[here] = self.states.index(name)
            else:
                self._refuse(
                    x,
                    here,
                    "equals a bound of this column that no cell of the training table equals. "
                    "Correct it, or train on a table with such cells",
                )
        missing = np.isnan(x)
        if MISSING in self.states:
            state[missing] = self.states.index(MISSING)
        else:
            self._refuse(x, missing, reading.NEVER_MISSING)
        return state

    def _is_at(self, x, bound):
        """Returns which numbers are at a bound, where the density of the values ends."""
        return x == bound

    def _refuse(self, x, wrong, reason):
        for row in np.flatnonzero(wrong)[:1]:
            number = "the cell" if math.isnan(x[row]) else f"{x[row]:.15g}"
            raise ValueError(f"{reading.place(self.name, row)}: {number} {reason}.")

    def stored(self, x: np.ndarray, is_value: np.ndarray) -> np.ndarray:
        """Returns the compact form of the values; zero where there is none."""
        raise NotImplementedError

    def _value_points(self, stored, rng, density):
        """Returns the coordinate of the values, and the logarithm of its derivative."""
        raise NotImplementedError

    def _numbers(self, y):
        """Returns the numbers of coordinates of values."""
        raise NotImplementedError

    def points(
        self, cells: Cells, rng: np.random.Generator, *, density: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        y, log_det = self._value_points(cells[0], rng, density)
        if not self.has_states:
            return y[:, None], log_det
        state = cells[1]
        filled(y, log_det, state != self.states.index(VALUE), rng)
        levels = self.state_levels.forward(within(state, uniform(rng, len(state))))
        return np.stack([y, levels[0]], 1), log_det + levels[1]

    def series(self, points: np.ndarray) -> Any:
        x = self._numbers(points[:, 0])
        missing = np.zeros(len(x), bool)
        if self.has_states:
            state = np.floor(self.state_levels.inverse(points[:, 1])).astype(np.int64)
            names = np.array(self.states)[state]
            x = np.where(names == LOWER, self.interval.lower, x)
            x = np.where(names == UPPER, self.interval.upper, x)
            missing = names == MISSING
        return reading.restored(self.name, self._typed(x), missing, self.description)

    def _typed(self, x):
        """Returns numbers of the column's type, which rounding does not carry out of bounds."""
        raise NotImplementedError

    def _number_type(self):
        """Returns the NumPy dtype of the numbers, float64 for those that have none."""
        word = self.description.get("dtype", self.description.get("arrow", "")).lower()
        word = {"double": "float64", "float": "float32", "halffloat": "float16"}.get(word, word)
        try:
            found = np.dtype(word)
        except TypeError:
            return np.dtype(np.float64)
        return found if found.kind in "iuf" else np.dtype(np.float64)

    def boxes(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        low, high = self._value_boxes(cells[0])
        if not self.has_states:
            return low[:, None], high[:, None]
        state, free = cells[1].astype(int), self.missing(cells)
        is_value = state == self.states.index(VALUE)
        low, high = np.where(is_value, low, -np.inf), np.where(is_value, high, np.inf)
        count = len(self.states) - (MISSING in self.states)
        ends = level_box(self.state_levels, state, free, count)
        return np.stack([low, ends[0]], 1), np.stack([high, ends[1]], 1)

    def _value_boxes(self, stored):
        raise NotImplementedError

    def missing(self, cells: Cells) -> np.ndarray:
        if MISSING not in self.states:
            return np.zeros(len(cells[0]), bool)
        return cells[1] == self.states.index(MISSING)

    def note(self) -> str:
        shares = zip(self.states, self.state_levels.probabilities)
        return ", ".join(f"{100.0 * p:.3g} % {state}" for state, p in shares if state != VALUE)

    def get_config(self) -> dict[str, Any]:
        interval = self.interval
        return {
            **super().get_config(),
            # JSON has no infinity.
            "interval": [str(interval.lower), str(interval.upper), list(interval.closed)],
            "states": list(self.states),
            "state_levels": self.state_levels.get_config(),
            "value_map": self.value_map.get_config(),
            "first": self.first,
        }


class NumericColumn(NumberColumn):
    """A `NumberColumn` of real numbers, whose values have a density."""

    is_discrete = False
    value_map: Smooth

    def stored(self, x: np.ndarray, is_value: np.ndarray) -> np.ndarray:
        y = np.zeros(len(x), np.float32)
        y[is_value] = self.value_map.forward(x[is_value])[0]
        return y

    def _value_points(self, stored, rng, density):
        y = stored.astype(np.float64)
        if not density:
            return y, np.zeros(len(y))
        _, log_det = self.value_map.forward(self.value_map.inverse(y))
        return y, log_det

    def _numbers(self, y):
        return self.value_map.inverse(y)

    def _value_boxes(self, stored):
        y = stored.astype(np.float64)
        return y, y.copy()

    def _typed(self, x):
        dtype = self._number_type()
        if dtype.kind != "f" or dtype.itemsize >= 8:
            return x
        largest = np.finfo(dtype).max
        rounded = np.clip(x, -float(largest), float(largest)).astype(dtype)
        infinity = dtype.type(np.inf)
        for bound, is_open, inward, beyond in (
            (self.interval.lower, not self.interval.closed[0], infinity, np.less_equal),
            (self.interval.upper, not self.interval.closed[1], -infinity, np.greater_equal),
        ):
            if is_open and math.isfinite(bound):
                wide = rounded.astype(np.float64)
                step = np.nextafter(rounded, inward)
                rounded = np.where(beyond(wide, bound), step, rounded)
        return rounded

    def kind(self) -> str:
        return str(Numeric(self.interval))


class IntegerColumn(NumberColumn):
    """A `NumberColumn` of whole numbers, whose values get uniform noise ``u``: ``v = k + u``."""

    def _is_at(self, x, bound):
        return np.zeros(len(x), bool)

    def stored(self, x: np.ndarray, is_value: np.ndarray) -> np.ndarray:
        wrong = is_value & (x != np.floor(x))
        self._refuse(x, wrong, "is no whole number, as the others in the column are")
        whole = np.where(is_value, x, self.first)
        largest = np.max(np.abs(whole), initial=0.0)
        return whole.astype(np.int32 if largest < 2**31 else np.int64)

    def _value_points(self, stored, rng, density):
        level = stored.astype(np.float64) - self.first
        return self.value_map.forward(within(level, uniform(rng, len(level))))

    def _numbers(self, y):
        return np.floor(self.value_map.inverse(y)) + self.first

    def _value_boxes(self, stored):
        level = stored.astype(np.float64) - self.first
        if isinstance(self.value_map, Levels):
            return self.value_map.edges(level)
        ends = []
        for v, bound, end in (
            (level, self.value_map.lower, -np.inf),
            (level + 1.0, self.value_map.upper, np.inf),
        ):
            at_end = np.zeros(len(v), bool) if bound is None else v == bound
            y, _ = self.value_map.forward(np.where(at_end, level + 0.5, v))
            ends.append(np.where(at_end, end, y))
        return ends[0], ends[1]

    def _typed(self, x):
        x = np.clip(x, self.interval.lower, self.interval.upper)
        dtype = self._number_type()
        if dtype.kind == "f" and self.description.get("dtype") != "object":
            return x
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            x = np.clip(x, max(limits.min, -(2.0**62)), min(limits.max, 2.0**62))
        return x.astype(np.int64)

    def kind(self) -> str:
        return str(Integer(self.interval))
