"""Fits a column of a table to its cells."""

import math
from typing import Any

import numpy as np

from iresnet_tf.columns import cells as reading
from iresnet_tf.columns.column import Column
from iresnet_tf.columns.inference import completed, inferred_kind
from iresnet_tf.columns.kinds import (
    Boolean,
    Categorical,
    Constant,
    Drop,
    Integer,
    Interval,
    Numeric,
    as_kind,
)
from iresnet_tf.columns.label_column import ConstantColumn, LabelColumn
from iresnet_tf.columns.levels import Levels
from iresnet_tf.columns.number_column import (
    LOWER,
    MISSING,
    STATES,
    UPPER,
    VALUE,
    IntegerColumn,
    NumericColumn,
)
from iresnet_tf.columns.smooth import Smooth

FEW, MOST_LEVELS, ROWS_PER_LEVEL = 64, 256, 10
"""Whole numbers are levels if there are few, or not too many and enough rows for each."""


def fitted_column(series: Any, kind: Any, rows: np.ndarray) -> Column | None:
    """Returns the column of a pandas column, ``None`` for one that is left out.

    Args:
        series: all of its cells, which decide what may occur.
        kind: its kind, or ``None`` to infer it.
        rows: indices of the rows whose frequencies and quantiles are used.
    """
    if kind is None:
        kind = inferred_kind(series)
    else:
        kind = as_kind(kind)
        if isinstance(kind, Drop):
            return None
        kind = completed(kind, series)
    if isinstance(kind, Constant):
        return ConstantColumn(series.name, reading.description_of(series), kind.value)
    if isinstance(kind, Boolean):
        return LabelColumn.of(series, (False, True), "boolean", rows)
    if isinstance(kind, Categorical):
        word = "ordered categorical" if kind.ordered else "categorical"
        return LabelColumn.of(series, kind.categories, word, rows)
    return _number_column(series, kind, rows)


def _number_column(series, kind, rows):
    x = reading.numbers(series)
    made = IntegerColumn if isinstance(kind, Integer) else NumericColumn
    interval = kind.interval if made is NumericColumn else _closed(kind.interval)
    found = {VALUE}
    if np.isnan(x).any():
        found.add(MISSING)
    if isinstance(kind, Numeric):
        at_bounds = ((LOWER, interval.lower, 0), (UPPER, interval.upper, 1))
        found |= {
            name for name, end, side in at_bounds if interval.closed[side] and np.any(x == end)
        }
    states = tuple(state for state in STATES if state in found)
    options = (series.name, reading.description_of(series), interval, states)
    placeholder = Levels(np.ones(len(states)))
    # This column only sorts the cells; it also refuses those that its kind does not have.
    sorter = made(*options, placeholder, Smooth(None, None, 0.0, 1.0, [-1.0, 1.0], [-1.0, 1.0]))
    state = sorter.state(x)
    used = np.zeros(len(x), bool)
    used[rows] = True
    values = x[used & (state == states.index(VALUE))]
    if not len(values) or values.min() == values.max():
        raise ValueError(
            f"column {series.name!r} has one value in the training rows, so it has no density "
            "there. Leave it out (drop), or draw another split: data.table.split_seed."
        )
    state_levels = Levels.of_counts(np.bincount(state[used], minlength=len(states)))
    if made is NumericColumn:
        value_map = Smooth.of_values(values, *interval.bounds)
        return made(*options, state_levels, value_map)
    sorter.stored(x, state == states.index(VALUE))
    everywhere = x[~np.isnan(x)]
    return made(*options, state_levels, *_whole_map(values, everywhere, interval))


def _closed(interval):
    """Returns the interval from the first to the last whole number in another one."""
    lower, upper = interval.lower, interval.upper
    if math.isfinite(lower):
        lower = math.ceil(lower) if interval.closed[0] else math.floor(lower) + 1.0
    if math.isfinite(upper):
        upper = math.floor(upper) if interval.closed[1] else math.ceil(upper) - 1.0
    return Interval(float(lower), float(upper), (math.isfinite(lower), math.isfinite(upper)))


def _whole_map(values, everywhere, interval):
    """Returns the map of whole numbers, and the number that is its level 0."""
    lower, upper = interval.bounds
    first = everywhere.min() if lower is None else lower
    last = everywhere.max() if upper is None else upper
    count = last - first + 1.0
    if count <= FEW or (count <= MOST_LEVELS and count * ROWS_PER_LEVEL <= len(values)):
        counts = np.bincount((values - first).astype(np.int64), minlength=int(count))
        rare = 0.5 / (len(values) + 1.0)
        tails = rare if lower is None else 0.0, rare if upper is None else 0.0
        return Levels.of_counts(counts, tails=tails, scale=max(1.0, 0.5 * values.std())), first
    noise = np.random.default_rng(0).random(len(values))
    start = 0.0 if lower is None else first
    spread = np.clip(values - start + noise, np.nextafter(values - start, np.inf), None)
    bounds = None if lower is None else 0.0, None if upper is None else last - start + 1.0
    return Smooth.of_values(spread, *bounds), start
