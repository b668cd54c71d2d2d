"""Reads tables of numbers from CSV files and NumPy arrays, and checks every column."""

import csv
import hashlib
import math
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from iresnet_tf.files import written_whole

RESOLUTION = 1e-4
"""Smallest standard deviation of a column, relative to its mean, that float32 resolves."""


FLOAT32 = np.finfo(np.float32)


class Table(NamedTuple):
    """A table: the names of its columns, and its values, float32 ``[rows, columns]``."""

    columns: tuple[str, ...]
    values: np.ndarray


def load(path: str | os.PathLike[str]) -> Table:
    """Reads a table from a ``.npy`` file, or from a CSV file with any other suffix.

    The first row of a CSV file is its header if any of its cells is not a number.  Without a
    header, and in an array, the columns are ``x1, x2, …``.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: for fewer than two rows, rows of different lengths, an empty cell, a value
            that is not a finite number, or a constant column; the message names the place.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no table at {path}.")
    columns, values = _read_array(path) if path.suffix.lower() == ".npy" else _read_text(path)
    if len(values) < 2:
        raise ValueError(f"{path} has {len(values)} rows of data; a density needs at least two.")
    for name, column in zip(columns, values.T):
        mean, stddev = column.mean(), column.std()
        if column.min() == column.max():
            raise ValueError(
                f"{path}: column {name!r} is constant, {column[0]:g} in every row, so it has no "
                "density. Leave it out."
            )
        if stddev < RESOLUTION * abs(mean):
            raise ValueError(
                f"{path}: column {name!r} varies by {stddev:g} around {mean:g}, which float32 "
                "does not resolve. Subtract a constant from it."
            )
        if not FLOAT32.tiny < stddev <= np.abs(column).max() <= FLOAT32.max:
            raise ValueError(
                f"{path}: column {name!r} varies by {stddev:g}, up to {np.abs(column).max():g}, "
                "outside the range of float32. Give it in another unit."
            )
    return Table(columns, values.astype(np.float32))


def digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def write(path: str | os.PathLike[str], columns: Sequence[str], values: np.ndarray) -> None:
    """Writes a CSV file with a header, whole or not at all."""
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(np.asarray(values))


def _read_array(path):
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no array of numbers: {error}") from None
    if values.ndim != 2 or values.dtype.kind not in "buif" or 0 in values.shape:
        raise ValueError(
            f"A table is an array of real numbers, [rows, columns]; {path} holds one of shape "
            f"{values.shape} and type {values.dtype}."
        )
    values = values.astype(np.float64)
    columns = _numbered(values.shape[1])
    for row, column in np.argwhere(~np.isfinite(values))[:1]:
        raise ValueError(
            f"{path}: column {columns[column]!r} is {values[row, column]} in row {row}. Fill it "
            "in, or leave the row or the column out."
        )
    return columns, values


def _read_text(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        # Error messages name a row by its line in the file.
        lines = [(reader.line_num, row) for row in reader if row]
    if not lines:
        raise ValueError(f"{path} is empty.")
    first = lines[0][1]
    has_header = any(cell.strip() and _number(cell) is None for cell in first)
    columns = tuple(cell.strip() for cell in first) if has_header else _numbered(len(first))
    is_index = has_header and not columns[0]
    if is_index:
        warnings.warn(
            f"{path}: the first column has no name, like an index that pandas writes, and is left "
            "out. Name it to keep it.",
            stacklevel=3,
        )
    unnamed = [number for number, name in enumerate(columns, 1) if not name and number > 1]
    if unnamed:
        raise ValueError(f"{path}: column {unnamed[0]} has no name. Name every column, or none.")
    values = []
    for line, row in lines[has_header:]:
        if len(row) != len(columns):
            raise ValueError(
                f"{path}, line {line}: {len(row)} cells, where the first row has {len(columns)}. "
                "Every row of a table has the same number of cells, separated by commas."
            )
        cells = list(zip(columns, row))[is_index:]
        values.append([_finite_number(path, line, name, cell) for name, cell in cells])
    columns = columns[is_index:]
    return columns, np.array(values, np.float64).reshape(-1, len(columns))


def _finite_number(path, line, name, cell):
    """Returns the number in a cell, or raises an error that names the cell."""
    number = _number(cell)
    if number is not None and math.isfinite(number):
        return number
    fault = f"holds {cell.strip()!r}, which is no finite number" if cell.strip() else "is empty"
    raise ValueError(
        f"{path}, line {line}: column {name!r} {fault}. Fill it in, encode it as numbers, or "
        "leave the row or the column out."
    )


def _number(cell):
    try:
        return float(cell)
    except ValueError:
        return None


def _numbered(count):
    return tuple(f"x{index + 1}" for index in range(count))
