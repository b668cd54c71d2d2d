"""Reads tables of mixed columns from files and arrays, and writes them."""

import csv
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from iresnet_tf.columns.cells import number, pandas
from iresnet_tf.files import written_whole

MISSING_MARKS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>", "#N/A")
"""The cells of a CSV file that are missing, with and without quotation marks."""

ENCODINGS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""The bytes at the start of a text in another encoding than UTF-8; the longer marks come first."""


def read(table: Any) -> Any:
    """Returns a table as pandas columns.

    The first row of a CSV file is its header if its cells are words.  Without a header, and in an
    array, the columns are ``x1, x2, …``.  A cell of `MISSING_MARKS` is missing.

    Args:
        table: path of a CSV, Parquet or ``.npy`` file; an array ``[rows, columns]`` of numbers,
            truth values or objects; or a pandas DataFrame, which is returned as it is.

    Returns:
        a DataFrame, or for a Parquet file a `ParquetTable`.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: for a file that is no table; the message is one line with its path.
    """
    pd = pandas()
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, np.ndarray):
        return _of_array(table, "The array")
    path = pathlib.Path(table)
    if not path.is_file():
        raise FileNotFoundError(f"There is no table at {path}.")
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return ParquetTable(path)
        return _of_array(read_array(path), str(path)) if suffix == ".npy" else _of_text(path)
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"{path} cannot be read ({_line(error)}).") from None


def write(path: str | os.PathLike[str], frame: Any) -> None:
    """Writes a DataFrame as Parquet if the path ends so, else as CSV; whole or not at all."""
    path = pathlib.Path(path)
    with written_whole(path) as partial:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame.to_parquet(partial, index=False)
        else:
            frame.to_csv(partial, index=False)


class ParquetTable:
    """A Parquet file, of which one column at a time is in memory.

    Args:
        path: of the file.
    """

    def __init__(self, path: pathlib.Path) -> None:
        from pyarrow import ArrowInvalid, parquet

        try:
            self._file = parquet.ParquetFile(path)
        except (ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is no Parquet file ({_line(error)}).") from None
        metadata = self._file.schema_arrow.pandas_metadata or {}
        index = {name for name in metadata.get("index_columns", ()) if isinstance(name, str)}
        names = self._file.schema_arrow.names
        self.columns = tuple(name for name in names if name not in index)

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def __getitem__(self, name: str) -> Any:
        return self._file.read([name]).to_pandas()[name].reset_index(drop=True)


def read_array(path: pathlib.Path) -> np.ndarray:
    """Returns the array of a ``.npy`` file.

    Raises:
        ValueError: for a file that holds no array, or objects.
    """
    try:
        # The file is mapped, so an array that is larger than its file is not allocated.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy raises errors of many types for a damaged file.
        raise ValueError(
            f"{path} is no array of numbers ({_line(error)}). Save one with numpy.save."
        ) from None
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{path} is a zip archive, not one array. Save an array with numpy.save.")
    return values


def encoding_of(path: pathlib.Path) -> str:
    """Returns the encoding of a text, UTF-8 unless a byte order mark tells another one."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((name for mark, name in ENCODINGS if start.startswith(mark)), "utf-8-sig")


def text_rows(path: pathlib.Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows of a CSV file that are not empty, each with the number of its last line.

    Raises:
        ValueError: for a file without rows, or one that is no such text.
    """
    is_first = True
    try:
        with path.open(newline="", encoding=encoding) as file:
            reader = csv.reader(file)
            for row in filter(None, reader):
                if is_first and any("\0" in cell for cell in row):
                    raise ValueError(
                        f"{path} holds bytes of zero, so it is no text. Save it as UTF-8."
                    )
                is_first = False
                yield reader.line_num, row
    except UnicodeError as error:
        raise ValueError(
            f"{path} is not text in UTF-8, nor in UTF-16 with a byte order mark ({_line(error)}). "
            "Save it as UTF-8: iconv -f LATIN1 -t UTF-8, if its encoding is Latin-1."
        ) from None
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: no row of a CSV file can be read ({error}). "
            "Check its quotation marks and its encoding."
        ) from None
    if is_first:
        raise ValueError(f"{path} is empty.")


def column_names(
    path: pathlib.Path, first: list[str], has_header: bool
) -> tuple[tuple[str, ...], bool]:
    """Returns the names of the columns of a text, and whether the first of them is an index.

    Raises:
        ValueError: if another column than the first has no name.
    """
    names = tuple(cell.strip() for cell in first) if has_header else numbered(len(first))
    unnamed = [place for place, name in enumerate(names, 1) if not name and place > 1]
    if unnamed:
        raise ValueError(f"{path}: column {unnamed[0]} has no name. Name every column, or none.")
    is_index = not names[0]
    if is_index:
        warnings.warn(
            f"{path}: the first column has no name, like an index that pandas writes, and is left "
            "out. Name it to keep it.",
            stacklevel=4,
        )
    return names, is_index


def numbered(count: int) -> tuple[str, ...]:
    """Returns the names of columns that have none: ``x1, x2, …``."""
    return tuple(f"x{index + 1}" for index in range(count))


def _of_array(values, what):
    if values.ndim != 2 or values.dtype.kind not in "buifO" or 0 in values.shape:
        raise ValueError(
            f"A table is an array of numbers, truth values or objects, [rows, columns]; {what} "
            f"has the shape {values.shape} and the type {values.dtype}."
        )
    frame = pandas().DataFrame(values, columns=numbered(values.shape[1]))
    return frame.infer_objects() if values.dtype.kind == "O" else frame


def _of_text(path):
    import pyarrow
    from pyarrow import csv as arrow

    encoding = encoding_of(path)
    lines, first = next(text_rows(path, encoding))
    has_header = _is_header(path, first)
    names, is_index = column_names(path, first, has_header)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"{path}: there are {names.count(twice[0])} columns {twice[0]!r}. Rename them."
        )
    options = {
        "parse_options": arrow.ParseOptions(newlines_in_values=True),
        "convert_options": arrow.ConvertOptions(
            null_values=list(MISSING_MARKS),
            strings_can_be_null=True,
            true_values=["true", "True", "TRUE"],
            false_values=["false", "False", "FALSE"],
            timestamp_parsers=[],
        ),
    }

    def table(threads):
        # Only one thread counts the rows, by which an error names its place.
        text = arrow.ReadOptions(
            use_threads=threads,
            encoding="utf8" if encoding == "utf-8-sig" else encoding,
            column_names=names,
            skip_rows=lines if has_header else 0,
        )
        return arrow.read_csv(path, read_options=text, **options)

    try:
        found = table(True)
    except (pyarrow.ArrowException, UnicodeError):
        try:
            found = table(False)
        except (pyarrow.ArrowException, UnicodeError) as error:
            raise ValueError(
                f"{path}: no table can be read ({_line(error)}). Every row has the same number of "
                "cells, separated by commas, and the text is UTF-8."
            ) from None
    if is_index:
        found = found.drop_columns([names[0]])
    return _frame(found)


def _frame(table):
    """Returns a DataFrame, in which whole numbers and truth values stay so next to gaps."""
    pd, columns = pandas(), {}
    for name in table.column_names:
        column = table.column(name)
        kind = str(column.type)
        series = column.to_pandas()
        if column.null_count and kind in ("int64", "bool"):
            series = pd.array(series.to_numpy(), dtype={"int64": "Int64", "bool": "boolean"}[kind])
        columns[name] = series
    return pd.DataFrame(columns)


def _is_header(path, cells):
    """Returns whether a first row holds words; raises an error if it holds numbers too."""
    words = [cell for cell in cells if cell.strip() and not _is_number(cell)]
    words = [word for word in words if word.strip() not in MISSING_MARKS]
    numbers = [cell for cell in cells if _is_number(cell)]
    if words and numbers:
        raise ValueError(
            f"{path}, line 1: the first row holds words, such as {words[0].strip()!r}, and "
            f"numbers, such as {numbers[0].strip()!r}, so it is neither a header nor data. Name "
            "every column by a word."
        )
    return bool(words)


def _is_number(cell):
    return number(cell) is not None and cell.strip() not in MISSING_MARKS


def _line(error):
    return " ".join(str(error).split())[:200]
