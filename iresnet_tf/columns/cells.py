"""Reads the cells of a pandas column as numbers or words, and restores its dtype exactly."""

import math
from types import ModuleType
from typing import Any

import numpy as np

LARGEST_WHOLE = 2**48
"""Largest magnitude of a whole number whose cell, up to the next one, float64 resolves."""


NEVER_MISSING = (
    "is missing, but no cell of this column was missing in the training table. Fill it in, or "
    "train on a table with missing cells"
)
"""Why a missing cell is refused."""


def pandas() -> ModuleType:
    """Returns pandas, which is imported only by those who use tables.

    Raises:
        ImportError: if it is not installed; the message says how to install it.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError(
            "Tables of mixed columns need pandas and pyarrow: pip install 'iresnet_tf[tables]'."
        ) from None
    return pandas


def place(name: str, position: int) -> str:
    """Returns a column and a row as messages name them; rows are counted from 1."""
    return f"column {name!r}, row {position + 1}"


def plain(value: Any) -> Any:
    """Returns a number of NumPy as one of Python, and anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def number(text: Any) -> float | None:
    """Returns the number that a text spells, or ``None``."""
    try:
        return float(text)
    except ValueError:
        return None


def shown(series: Any, position: int) -> str:
    """Returns a cell as messages show it."""
    text = repr(plain(series.iloc[position]))
    return text if len(text) <= 60 else f"{text[:60]} …"


def content(series: Any) -> str:
    """Returns ``"numbers"``, ``"words"`` or ``"truth values"``: what a column holds.

    Raises:
        ValueError: for a column that holds nothing, several types, dates, or another type.
    """
    pd, name = pandas(), series.name
    if isinstance(series.dtype, pd.CategoricalDtype):
        return "words"
    if series.isna().all():
        raise ValueError(f"column {name!r} is empty: no cell of it holds a value. Leave it out.")
    found = pd.api.types.infer_dtype(series, skipna=True)
    numbers = {"integer", "floating", "mixed-integer-float", "decimal"}
    contents = dict.fromkeys(numbers, "numbers") | {"string": "words", "boolean": "truth values"}
    if found in contents:
        return contents[found]
    if pd.api.types.is_object_dtype(series.dtype) and found.startswith("mixed"):
        first, other, position = _two_types(series)
        if other is None:
            raise ValueError(
                f"column {name!r} holds objects of the type {first}. A cell is a number, a word "
                "or a truth value."
            )
        raise ValueError(
            f"{place(name, position)}: the cell is of the type {other}, those before it of the "
            f"type {first}. Make the column one of numbers, or one of words."
        )
    raise ValueError(
        f"column {name!r} holds values of the type {series.dtype if found == 'mixed' else found}. "
        "A cell is a number, a word or a truth value: convert it, for example dates to days."
    )


def _two_types(series):
    """Returns the names of the first type, of the first other one, and where that is."""
    first = None
    for position, (value, missing) in enumerate(zip(series, series.isna())):
        if missing:
            continue
        kind = type(value).__name__
        first = first or kind
        if kind != first:
            return first, kind, position
    return first, None, None


def numbers(series: Any) -> np.ndarray:
    """Returns the numbers of a column as float64 ``[rows]``, NaN where a cell is missing.

    Raises:
        ValueError: for an infinite number, or whole numbers that float64 does not resolve.
    """
    missing = series.isna().to_numpy()
    values = np.full(len(series), math.nan)
    present = series[~missing].to_numpy() if missing.any() else series.to_numpy()
    try:
        values[~missing] = present.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"column {series.name!r} holds words, so it is not numeric: convert it, or make it "
            "categorical."
        ) from None
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise ValueError(
            f"{place(series.name, infinite[0])}: the number is infinite. Correct the cell, or "
            "leave it empty."
        )
    is_whole = present.dtype.kind in "iu"
    if is_whole and len(present) and np.max(np.abs(values[~missing])) > LARGEST_WHOLE:
        position = int(np.nanargmax(np.abs(values)))
        raise ValueError(
            f"{place(series.name, position)}: {series.iloc[position]} is a whole number above "
            "2⁴⁸, like an identifier, which float64 does not resolve. Leave the column out (drop), "
            "or make it categorical."
        )
    return values


def description_of(series: Any) -> dict[str, Any]:
    """Returns what `restored` needs to give the dtype of a column back, as plain data."""
    pd, dtype = pandas(), series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = dtype.categories
        values = categories.tolist()
        odd = [value for value in values if not isinstance(value, str | int | float | bool)]
        if odd:
            raise ValueError(
                f"column {series.name!r} has categories of the type {type(odd[0]).__name__}, such "
                f"as {odd[0]}. Make them words: .cat.rename_categories(str)."
            )
        inner = description_of(categories.to_series(name=series.name))
        return {"categories": values, "ordered": bool(dtype.ordered), "of": inner}
    if isinstance(dtype, pd.StringDtype):
        return {"string": dtype.storage, "na": "NA" if dtype.na_value is pd.NA else "nan"}
    if isinstance(dtype, pd.ArrowDtype):
        return {"arrow": str(dtype.pyarrow_dtype)}
    if not pd.api.types.is_object_dtype(dtype):
        return {"dtype": str(dtype)}
    missing = series[series.isna()]
    mark = missing.iloc[0] if len(missing) else None
    return {"dtype": "object", "missing": "None" if mark is None else str(mark)}


def restored(name: str, values: np.ndarray, missing: np.ndarray, description: dict) -> Any:
    """Returns the column of a given dtype.

    Args:
        name: of the column.
        values: ``[rows]``, of any type that the dtype can hold; arbitrary where missing.
        missing: bool ``[rows]``.
        description: from `description_of`.
    """
    pd = pandas()
    if description.get("dtype") == "object":
        marks = {"None": None, "nan": math.nan, "<NA>": pd.NA}
        cells = values.astype(object)
        cells[missing] = marks.get(description["missing"])
        return pd.Series(cells, name=name, dtype=object)
    dtype = _dtype(pd, description)
    if isinstance(dtype, pd.CategoricalDtype):
        codes = np.where(missing, -1, dtype.categories.get_indexer(values.astype(object)))
        return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype), name=name)
    series = pd.Series(values, name=name).astype(dtype)
    return series.mask(missing) if missing.any() else series


def _dtype(pd, description):
    if "categories" in description:
        index = pd.Index(description["categories"], dtype=_dtype(pd, description["of"]))
        return pd.CategoricalDtype(index, ordered=description["ordered"])
    if "string" in description:
        na_value = pd.NA if description["na"] == "NA" else math.nan
        return pd.StringDtype(description["string"], na_value=na_value)
    if "arrow" in description:
        import pyarrow

        return pd.ArrowDtype(pyarrow.type_for_alias(description["arrow"]))
    return pd.api.types.pandas_dtype(description["dtype"])
