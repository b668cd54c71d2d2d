"""Describes a whole table: its columns, their coordinates, and the way back to the table."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from iresnet_tf.columns import cells as reading
from iresnet_tf.columns.column import Cells, Column
from iresnet_tf.columns.fitting import fitted_column
from iresnet_tf.columns.label_column import ConstantColumn, LabelColumn
from iresnet_tf.columns.number_column import IntegerColumn, NumericColumn

_CLASSES = {
    each.__name__: each for each in (LabelColumn, ConstantColumn, IntegerColumn, NumericColumn)
}

UNIT = (
    "nats per row: densities of numeric values, probabilities of all other cells (lower bounds on "
    "their logarithms, by uniform dequantisation)"
)
"""The unit of a log-likelihood, in words."""


class Points(NamedTuple):
    """The coordinates of rows, and what their log-density lacks.

    Attributes:
        x: float64 ``[rows, width]``, roughly standard normal in each coordinate.
        log_det: ``[rows]``, nats.  If ``log p`` is the log-density of ``x``, the expectation of
            ``log p + log_det`` over the noise is a lower bound on the log-likelihood of the row.
    """

    x: np.ndarray
    log_det: np.ndarray


class Rows:
    """The rows of a table in compact arrays.

    Args:
        schema: of the table.
        cells: those of each column.
        count: number of rows.
    """

    def __init__(self, schema: "TableSchema", cells: Sequence[Cells], count: int) -> None:
        self.schema, self.cells, self._count = schema, list(cells), count

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows, and that of their coordinates."""
        return self._count, self.schema.width

    def __getitem__(self, chosen: Any) -> "Rows":
        """Returns the rows of a slice or of an array of indices."""
        count = len(range(*chosen.indices(len(self)))) if isinstance(chosen, slice) else len(chosen)
        parts = [tuple(array[chosen] for array in cells) for cells in self.cells]
        return Rows(self.schema, parts, count)

    def points(self, seed: Any, *, density: bool = True) -> Points:
        """Draws the coordinates of all rows.

        Args:
            seed: seed, or sequence of seeds, of the noise of the cells.
            density: whether ``log_det`` is needed; else it may be anything.
        """
        rng = np.random.default_rng(seed)
        x = np.empty((len(self), self.schema.width))
        log_det, start = np.zeros(len(self)), 0
        for column, cells in zip(self.schema.columns, self.cells):
            stop = start + len(column.coordinates)
            x[:, start:stop], added = column.points(cells, rng, density=density)
            log_det += added
            start = stop
        return Points(x, log_det)


class TableSchema:
    """The columns of a table: how each one is mapped to coordinates, and back.

    Args:
        columns: in the order of the table.

    Example::

        schema = irn.columns.TableSchema.fit(frame, {"grade": "categorical low < high"})
        print(schema)
        points = schema.rows(frame).points(seed=0)
        again = schema.frame(points.x)
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        if not self.width:
            raise ValueError("Every column of the table is constant, so there is nothing to model.")

    @classmethod
    def fit(
        cls, table: Any, kinds: Mapping[str, Any] | None = None, rows: np.ndarray | None = None
    ) -> "TableSchema":
        """Returns the schema of a table.

        Args:
            table: a pandas DataFrame, or what `iresnet_tf.columns.read` returns.
            kinds: kinds that are set by hand, by the names of columns; see
                `iresnet_tf.columns.kinds.as_kind`.  The others are inferred, from all rows.
            rows: indices of the rows whose frequencies and quantiles are used; by default all.

        Raises:
            ValueError: for a table that has no such description; the message is one line, which
                names the column and, where it can, the row.
        """
        names = require_table(table)
        kinds = dict(kinds or {})
        unknown = [name for name in kinds if name not in names]
        if unknown:
            raise ValueError(
                f"There is no column {unknown[0]!r}. The columns are: "
                f"{', '.join(map(repr, names))}."
            )
        rows = np.arange(len(table)) if rows is None else rows
        made = (fitted_column(table[name], kinds.get(name), rows) for name in names)
        return cls([column for column in made if column is not None])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The names of the coordinates."""
        return tuple(name for column in self.columns for name in column.coordinates)

    @property
    def width(self) -> int:
        """The number of coordinates."""
        return len(self.coordinates)

    def rows(self, table: Any) -> Rows:
        """Returns the rows of a table with these columns, in any order; others are left out.

        Raises:
            ValueError: for a missing column, or a cell that its column cannot have.
        """
        names = require_table(table, least=1)
        absent = [name for name in self.names if name not in names]
        if absent:
            raise ValueError(
                f"The table has no column {absent[0]!r}. Its columns are: "
                f"{', '.join(map(repr, names))}."
            )
        return Rows(self, [each.cells(table[each.name]) for each in self.columns], len(table))

    def frame(self, points: np.ndarray) -> Any:
        """Returns the DataFrame of coordinates ``[rows, width]``, with the dtypes of the table."""
        pd = reading.pandas()
        stops = np.cumsum([len(column.coordinates) for column in self.columns])
        parts = np.split(np.asarray(points, np.float64), stops[:-1], axis=1)
        made = [column.series(part) for column, part in zip(self.columns, parts)]
        return pd.concat(made, axis=1)

    def parts(self) -> dict[str, list[str]]:
        """Returns the names of the columns with densities, with probabilities, and constant."""
        groups: dict[str, list[str]] = {"densities": [], "probabilities": [], "constant": []}
        for column in self.columns:
            constant = isinstance(column, ConstantColumn)
            part = "probabilities" if column.is_discrete else "densities"
            groups["constant" if constant else part].append(column.name)
        return groups

    def __str__(self) -> str:
        """Returns a short table of the columns: name, kind, and what its likelihood is."""
        lines = [("column", "kind", "likelihood", "")]
        for column in self.columns:
            likelihood = "probability" if column.is_discrete else "density"
            lines.append((column.name, column.kind(), likelihood, column.note()))
        widths = [max(len(line[index]) for line in lines) for index in range(3)]
        rows = (
            "  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0]))
            for line in lines
        )
        return "\n".join(row.rstrip() for row in rows)

    def get_config(self) -> dict[str, Any]:
        """Returns the schema as plain data."""
        return {
            "columns": [
                {"class": type(column).__name__, **column.get_config()} for column in self.columns
            ]
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TableSchema":
        """Returns the schema that `get_config` describes."""
        columns = []
        for fields in config["columns"]:
            fields = dict(fields)
            columns.append(_CLASSES[fields.pop("class")](**fields))
        return cls(columns)


def require_table(table: Any, least: int = 2) -> tuple[str, ...]:
    """Returns the names of the columns of a table.

    Raises:
        ValueError: for a table without columns or with fewer rows; for columns whose names are
            not different words.
    """
    names = tuple(table.columns)
    if not names:
        raise ValueError("The table has no columns.")
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise ValueError(
            f"The name of a column is a word; received {wrong[0]!r}. Rename it: "
            "frame.columns = frame.columns.map(str)."
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"There are {names.count(twice[0])} columns {twice[0]!r}. Rename them.")
    if len(table) < least:
        raise ValueError(f"The table has {len(table)} rows; {least} are the fewest.")
    return names
