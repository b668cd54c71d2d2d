"""Lists tables that are refused, each with a pattern of the line that says why."""

import numpy as np
import pandas as pd

ROWS = "".join(f"{0.5 + row % 7},{'red' if row % 3 else 'blue'}\n" for row in range(20))
IDS = "".join(f"{row % 5}.5,name {row}\n" for row in range(30))


def text(name, content, pattern, *options):
    def make(folder):
        data = content if isinstance(content, bytes) else content.encode()
        (folder / "table.csv").write_bytes(data)
        return folder / "table.csv"

    return name, make, pattern, options


def array(name, values, pattern):
    def make(folder):
        np.save(folder / "table.npy", values, allow_pickle=False)
        return folder / "table.npy"

    return name, make, pattern, ()


def parquet(name, columns, pattern, *options):
    def make(folder):
        pd.DataFrame(columns).to_parquet(folder / "table.parquet")
        return folder / "table.parquet"

    return name, make, pattern, options


def file(name, path, content, pattern):
    def make(folder):
        if content is not None:
            (folder / path).write_bytes(content)
        return folder / path

    return name, make, pattern, ()


def zipped(folder):
    np.savez(folder / "table.npz", a=np.ones((4, 2)))
    return (folder / "table.npz").rename(folder / "table.npy")


def column(kind):
    return "--column", kind


FILES = [
    text("an empty file", "", "table.csv is empty"),
    text("a header alone", "a,b\n", "table.csv.* 0 rows"),
    text("one row", "a,b\n1,2\n", "table.csv.* 1 rows"),
    text("two rows", "a,b\n1,2\n2,3\n", "table.csv has 2 rows, too few"),
    text("a row with too few cells", "a,b\n1,2\n3\n4,5\n", "Row #3.*Expected 2 columns, got 1"),
    text("a row with too many cells", "a,b\n1,2\n3,4,5\n", "Row #3.*Expected 2 columns, got 3"),
    text("a name twice", "a,b,a\n1,2,3\n2,3,4\n", "2 columns 'a'"),
    text("a column without a name", "a,,c\n1,2,3\n2,3,4\n", "column 2 has no name"),
    text("Latin-1", "größe,b\n1,2\n3,4\n".encode("latin-1"), "not text in UTF-8.*iconv"),
    text("UTF-16 without a mark", "a,b\n1,2\n".encode("utf-16-le"), "bytes of zero"),
    text("words and numbers in row 1", "1,red\n2,blue\n", "'red', and numbers, such as '1'"),
    text("different words", "a,who\n" + IDS, "column 'who' holds 30 different words in 30"),
    text("a word among numbers", "a,b\n" + ROWS + "six,red\n", "column 'a', row 21: 'six'"),
    text("infinity", "a,b\n" + ROWS + "inf,red\n", "column 'a', row 21: the number is infinite"),
    text("an empty column", "a,b\n1,\n2,\n3,\n", "column 'b' is empty"),
    text("constants alone", "a,b\n1,x\n1,x\n1,x\n", "Every column of the table is constant"),
    text("huge identifiers", f"a,b\n{2**60},1\n{2**60 + 1},2\n3,4\n", "column 'a', row .*2⁴⁸"),
    text("dates", "a,day\n1,2026-01-01\n2,2026-01-02\n3,2026-01-04\n", "column 'day' holds values"),
    text("a kind of no column", "a,b\n" + ROWS, "no column 'c'.* 'a', 'b'", *column("c=integer")),
    text("a kind of no name", "a,b\n" + ROWS, "A kind is numeric.*'whole'", *column("a=whole")),
    text("a kind without =", "a,b\n" + ROWS, "NAME=KIND.*'integer'", *column("integer")),
    text("an empty interval", "a,b\n" + ROWS, "interval|A kind is", *column("a=numeric [2, 1]")),
    text("a number out of bounds", "a,b\n" + ROWS, "column 'a', row 2: 1.5 lies outside",
         *column("a=numeric (0, 1]")),
    text("a number at an open bound", "a,b\n" + ROWS, "column 'a', row 1: 0.5 lies outside",
         *column("a=numeric (0.5, inf)")),
    text("words as numbers", "a,b\n" + ROWS, "column 'b' holds words, so it cannot be numeric",
         *column("b=numeric")),
    text("halves as integers", "a,b\n" + ROWS, "column 'a', row 1: 0.5 is no whole number",
         *column("a=integer")),
    text("words as truth values", "a,b\n" + ROWS, "column 'b' holds 'blue', which is no truth",
         *column("b=boolean")),
    text("a category left out", "a,b\n" + ROWS, "column 'b', row 2: 'red' is none of the 2",
         *column("b=categorical blue < green")),
    text("a constant set numeric", "a,b\n1,2\n1,3\n1,4\n", "column 'a' is constant, 1",
         *column("a=numeric")),
    array("an array of words", np.array([["a"], ["b"]]), "array of numbers.*type <U1"),
    array("one axis", np.arange(3.0), r"shape \(3,\)"),
    array("three axes", np.ones((2, 2, 2)), r"shape \(2, 2, 2\)"),
    array("complex numbers", np.ones((3, 2)) * 1j, "type complex128"),
    array("an infinite array", np.array([[1.0, 2.0], [3.0, -np.inf], [2.0, 1.0]]),
          "column 'x2', row 2: the number is infinite"),
    file("a damaged array", "table.npy", b"\x93NUMPY\x01\x00", "no array of numbers"),
    ("a zip archive", zipped, "is a zip archive", ()),
    file("no Parquet", "table.parquet", b"PAR1 is not all", "table.parquet is no Parquet file"),
    file("no file", "table.csv", None, "There is no table at .*table.csv"),
    ("a folder", lambda folder: folder, "There is no table at", ()),
    parquet("lists", {"a": [1.0, 2.0, 3.0], "b": [[1], [2], [3]]},
            "column 'b' holds objects of the type"),
    parquet("bytes", {"a": [1.0, 2.0, 3.0], "b": [b"x", b"y", b"x"]}, "column 'b' holds values"),
]  # fmt: skip
"""Names of files that the command refuses, their makers, the patterns, and options."""

NUMBERS = np.linspace(0.0, 1.0, 30)

FRAMES = [
    ("no columns", pd.DataFrame(index=range(5)), "has no columns"),
    ("no rows", pd.DataFrame({"a": []}), "0 rows"),
    ("types that differ", pd.DataFrame({"a": NUMBERS, "b": ["x", 2.0] * 15}),
     "column 'b', row 2: the cell is of the type float, those before it of the type str"),
    ("names that are numbers", pd.DataFrame(np.ones((5, 2))), "name of a column is a word.* 0"),
    ("names twice", pd.DataFrame(np.ones((5, 2)), columns=["a", "a"]), "2 columns 'a'"),
    ("complex numbers", pd.DataFrame({"a": NUMBERS * 1j}), "column 'a' holds values"),
    ("lengths of time", pd.DataFrame({"a": pd.to_timedelta(NUMBERS, "s")}), "column 'a' holds"),
    ("intervals", pd.DataFrame({"a": pd.cut(NUMBERS, 3)}), "column 'a' has categories of the type"),
    ("dictionaries", pd.DataFrame({"a": [{}] * 30, "b": NUMBERS}), "objects of the type dict"),
    ("all missing", pd.DataFrame({"a": NUMBERS, "b": [None] * 30}), "column 'b' is empty"),
    ("different categories", pd.DataFrame({"a": pd.Categorical([f"n{i}" for i in range(30)])}),
     "column 'a' holds 30 different words"),
]  # fmt: skip
"""Frames that have no schema."""
