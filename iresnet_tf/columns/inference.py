"""Infers the kind of a column from its cells."""

import math
from typing import Any

import numpy as np

from iresnet_tf.columns import cells as reading
from iresnet_tf.columns.kinds import (
    REALS,
    Boolean,
    Categorical,
    Constant,
    Integer,
    Interval,
    Kind,
    Numeric,
)

MOST_DIFFERENT_WORDS = 20
"""Number of different words above which they must recur to be categories."""

NEAR = 0.05
"""Largest distance of the smallest number to 0, of the median, for which 0 is its bound."""

SKEWED = 0.2
"""Skewness by quantiles, 0 for a symmetric law, above which positive numbers have the bound 0."""

PILE = 0.01, 5.0
"""A number at the end has a probability of its own if it has this share of the cells, and occurs
this many times as often as the others do on average."""


def inferred_kind(series: Any) -> Kind:
    """Returns the kind of a column, from all of its cells.

    Raises:
        ValueError: for a column that has no kind; the message names it, and its row.
    """
    pd = reading.pandas()
    found = reading.content(series)
    present = series[series.notna()]
    if found == "numbers":
        x = reading.numbers(series)
        x = x[~np.isnan(x)]
        different, counts = np.unique(x, return_counts=True)
        if len(different) == 1:
            return _single(series, present.iloc[0])
        return _kind_of_numbers(different, counts)
    different = present.unique()
    if len(different) == 1:
        return _single(series, present.iloc[0])
    if found == "truth values":
        return Boolean()
    if not isinstance(series.dtype, pd.CategoricalDtype):
        _require_words(series, different)
    _require_recurring(series, different, len(present))
    return _occurring(series, different)


def _occurring(series, different, ordered=False):
    """Returns the kind of a column of these labels: sorted, or in the order of their dtype."""
    if isinstance(series.dtype, reading.pandas().CategoricalDtype):
        found, ordered = set(different), bool(series.dtype.ordered)
        labels = [label for label in series.dtype.categories if label in found]
    else:
        labels = sorted(different)
    return Categorical(tuple(map(reading.plain, labels)), ordered)


def _single(series, value):
    """Returns the kind of a column in which one value occurs."""
    value = reading.plain(value)
    return Categorical((value,)) if series.isna().any() else Constant(value)


def _require_words(series, different):
    """Refuses a column of numbers with a few words, which may mark missing cells."""
    words = [word for word in different if reading.number(word) is None]
    if not words or len(words) == len(different):
        return
    numeric = series.map(reading.number, na_action="ignore").notna()
    if numeric.sum() > 0.5 * series.notna().sum():
        position = int(np.flatnonzero((series.notna() & ~numeric).to_numpy())[0])
        raise ValueError(
            f"{reading.place(series.name, position)}: {reading.shown(series, position)} is no "
            "number, as most cells of the column are. Correct or empty the cell, or make the "
            "column categorical."
        )


def _require_recurring(series, different, cells):
    """Refuses words that rarely recur, as names and identifiers."""
    many = len(different) > MOST_DIFFERENT_WORDS and 2 * len(different) > cells
    if many or (len(different) == cells and cells > 2):
        raise ValueError(
            f"column {series.name!r} holds {len(different)} different words in {cells} cells, like "
            "an identifier, so they are no categories. Leave the column out (drop)."
        )


def _kind_of_numbers(different, counts):
    whole = np.all(different == np.floor(different))
    if whole and np.max(np.abs(different)) <= reading.LARGEST_WHOLE:
        return Integer(_whole_interval(different, counts))
    return Numeric(_real_interval(different, counts))


def _whole_interval(different, counts):
    """Returns 0 or the smallest number as the lower bound, the largest one as the upper bound.

    An end is a bound if it occurs about as often as other levels do.  Two different numbers are
    always both bounds.
    """
    low, high, total = different[0], different[-1], counts.sum()
    span = high - low + 1.0
    often = [counts[end] >= total / (4.0 * span) for end in (0, -1)]
    if len(different) == 2:
        often = [True, True]
    few = span <= 64
    lower = low if few and often[0] else (0.0 if low >= 0.0 else -math.inf)
    upper = high if few and often[1] else math.inf
    closed = math.isfinite(lower), math.isfinite(upper)
    return Interval(float(lower), float(upper), closed)


def _real_interval(different, counts):
    """Returns the bounds: 0 below positive numbers that come near it, then 1 or 100 likewise above.

    A smallest or largest number that occurs far more often than others is a closed bound.
    """
    low, high, total = different[0], different[-1], counts.sum()
    piled = [
        counts[end] >= max(PILE[0] * total, PILE[1] * total / len(different), PILE[1])
        for end in (0, -1)
    ]
    median = different[np.searchsorted(np.cumsum(counts), 0.5 * total)]
    lower, upper = REALS.lower, REALS.upper
    if piled[0]:
        lower = low
    elif low >= 0.0 and (low <= NEAR * median or _is_skewed(different, counts)):
        lower = 0.0
    if piled[1]:
        upper = high
    elif lower == 0.0:
        upper = next((top for top in (1.0, 100.0) if 0.95 * top <= high <= top), math.inf)
    return Interval(float(lower), float(upper), (bool(lower == low), bool(upper == high)))


def _is_skewed(different, counts):
    """Returns whether positive numbers have a long upper tail, which their logarithms lack."""
    shares = np.cumsum(counts) / counts.sum()
    low, middle, high = different[np.searchsorted(shares, [0.05, 0.5, 0.95])]
    if low == high:
        return False

    def skewness(low, middle, high):
        return (high + low - 2.0 * middle) / (high - low)

    raw = skewness(low, middle, high)
    return raw > SKEWED and abs(skewness(*np.log([low, middle, high]))) < raw


def completed(kind: Kind, series: Any) -> Kind:
    """Returns a kind that was set by hand, with the categories that occur filled in.

    Raises:
        ValueError: for a kind that the column cannot have; the message names it.
    """
    pd, name = reading.pandas(), series.name
    found = reading.content(series)
    if isinstance(kind, Numeric | Integer):
        if found != "numbers":
            raise ValueError(
                f"column {name!r} holds {found}, so it cannot be {kind}. Convert it to numbers, or "
                "set another kind."
            )
        x = reading.numbers(series)
        if np.nanmin(x) == np.nanmax(x):
            raise ValueError(
                f"column {name!r} is constant, {np.nanmin(x):.15g}, so it has no distribution. "
                "Do not set its kind, or leave it out (drop)."
            )
        return kind
    present = series[series.notna()]
    different = list(present.unique())
    if isinstance(kind, Boolean):
        if not set(different) <= {0, 1}:
            raise ValueError(
                f"column {name!r} holds {different[0]!r}, which is no truth value: make it "
                "categorical."
            )
        return kind
    assert isinstance(kind, Categorical)
    if not kind.categories:
        return _occurring(series, different, kind.ordered)
    # Categories in a text are words, also those of a column of numbers.
    by_word = {str(value): reading.plain(value) for value in different}
    categories = tuple(by_word.get(str(word), word) for word in kind.categories)
    if isinstance(series.dtype, pd.CategoricalDtype):
        unknown = [word for word in categories if word not in series.dtype.categories]
    else:
        unknown = [
            word for word in categories if type(word) is not type(reading.plain(different[0]))
        ]
    if unknown:
        raise ValueError(
            f"column {name!r} cannot hold the category {unknown[0]!r} of its kind: categories have "
            "the type of the cells, and are categories of the dtype if that has some. Correct the "
            "kind, or convert the column."
        )
    return Categorical(categories, kind.ordered)
