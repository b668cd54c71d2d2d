"""Reads tables of numbers from CSV files and NumPy arrays, and checks every column."""

import csv
import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from iresnet_tf.columns import reading
from iresnet_tf.columns.cells import number
from iresnet_tf.files import written_whole

RESOLUTION = 1e-4
"""Smallest standard deviation of a column, relative to its mean, that float32 resolves."""

SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""Smallest standard deviation and largest magnitude, those of float32."""

_MISSING = {"", "?", "-", ".", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "missing"}
"""The marks that other programs write in place of a missing number."""


class Table(NamedTuple):
    """A table: the names of its columns, and its values, float32 ``[rows, columns]``."""

    columns: tuple[str, ...]
    values: np.ndarray


def load(path: str | os.PathLike[str]) -> Table:
    """Reads a table from a ``.npy`` file, or from a CSV file with any other suffix.

    The text is UTF-8, or UTF-16 or UTF-32 with a byte order mark.  The first row is its header if
    its cells are words.  Without a header, and in an array, the columns are ``x1, x2, …``.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: for another encoding, a first row of words and numbers, fewer than two rows,
            rows of different lengths, an empty cell, a value that is not a finite number of
            float32, or a constant column; the message names the place.
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
        if stddev < max(RESOLUTION * abs(mean), SMALLEST):
            raise ValueError(
                f"{path}: column {name!r} varies by {stddev:g} around {mean:g}, which float32 "
                "does not resolve. Subtract a constant from it, or change its unit."
            )
    return Table(columns, values.astype(np.float32))


def digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def require_unchanged(path: str | os.PathLike[str], sha256: str | None) -> None:
    """Raises `ValueError` unless a file has a given SHA-256; ``None`` allows any."""
    if sha256 is not None and digest(path) != sha256:
        raise ValueError(
            f"{os.fspath(path)} has changed since the run began: its SHA-256 is not {sha256}. "
            "Restore it, or train a new run on it."
        )


def write(path: str | os.PathLike[str], columns: Sequence[str], values: np.ndarray) -> None:
    """Writes a CSV file with a header, whole or not at all."""
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(np.asarray(values))


def _read_array(path):
    values = reading.read_array(path)
    if values.ndim != 2 or values.dtype.kind not in "buif" or 0 in values.shape:
        raise ValueError(
            f"A table is an array of real numbers, [rows, columns]; {path} holds one of shape "
            f"{values.shape} and type {values.dtype}."
        )
    values = values.astype(np.float64)
    columns = reading.numbered(values.shape[1])
    for row, column in np.argwhere(~(np.abs(values) <= LARGEST))[:1]:
        raise ValueError(
            f"{path}: column {columns[column]!r} is {values[row, column]} in row {row}, which is "
            "no finite number of float32. Fill it in, change its unit, or leave the row or the "
            "column out."
        )
    return columns, values


def _read_text(path):
    lines = list(reading.text_rows(path, reading.encoding_of(path)))
    has_header = _is_header(path, *lines[0])
    columns, is_index = reading.column_names(path, lines[0][1], has_header)
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


def _is_header(path, line, cells):
    """Returns whether a first row holds words; raises an error if it holds numbers too.

    A row of numbers with a missing value is no header; a later check names the empty cell.
    """
    words = [cell.strip() for cell in cells if cell.strip() and number(cell) is None]
    words = [] if all(word.lower() in _MISSING for word in words) else words
    numbers = [cell.strip() for cell in cells if number(cell) is not None]
    if words and numbers:
        raise ValueError(
            f"{path}, line {line}: the first row holds words, such as {words[0]!r}, and numbers, "
            f"such as {numbers[0]!r}, so it is neither a header nor data. Name every column by a "
            "word, or encode the words as numbers."
        )
    return bool(words)


def _finite_number(path, line, name, cell):
    """Returns the number in a cell, or raises an error that names the cell."""
    value = number(cell)
    if value is not None and abs(value) <= LARGEST:
        return value
    fault = f"holds {_short(cell)}, which is no finite number of float32"
    raise ValueError(
        f"{path}, line {line}: column {name!r} {fault if cell.strip() else 'is empty'}. Fill it "
        "in, encode it as numbers, or leave the row or the column out."
    )


def _short(cell):
    cell = cell.strip()
    return repr(cell if len(cell) <= 40 else cell[:40] + "…")
