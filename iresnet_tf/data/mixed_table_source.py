"""Makes a table of mixed columns a data source."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from iresnet_tf.columns import TableSchema, read
from iresnet_tf.columns.schema import Rows
from iresnet_tf.data import tables
from iresnet_tf.data.held_out import divided_rows
from iresnet_tf.data.source import ArraySource
from iresnet_tf.data.table_source import options_of_table


class MixedTableSource(ArraySource):
    """The source of the rows of a table of mixed columns, in a random order that is fixed.

    Its examples are the coordinates of a `TableSchema`, float32 ``[schema.width]``.  The noise of
    the cells is drawn anew for every training batch.

    Args:
        table: path of a CSV, Parquet or ``.npy`` file, an array, or a pandas DataFrame: see
            `iresnet_tf.columns.read`.
        kinds: kinds of columns that are set by hand, by their names; the others are inferred.
        sha256: the SHA-256 that a file must have, or ``None``.
        test_fraction: fraction of the rows, at the start of the order, that is held out for tests.
        split_seed: seed of the order.
        validation_examples: number of rows, at the end of the order, held out for validation.
        schema: a schema that is fitted already.  By default one is fitted to the table: its
            categories and bounds to all rows, its frequencies and quantiles to the training rows.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: without pandas and pyarrow.
        ValueError: without a table; for a file that has changed; for a table without a
            description, see `TableSchema.fit`; for a split with an empty part.
    """

    schema: TableSchema

    def __init__(
        self,
        table: Any = None,
        kinds: Mapping[str, Any] | None = None,
        *,
        sha256: str | None = None,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        validation_examples: int = 0,
        schema: TableSchema | None = None,
    ) -> None:
        if table is None:
            raise ValueError("A table is needed: iresnet train tabular --csv FILE.")
        found, self._table = read(table), table
        self._split: dict[str, Any] = {
            "test_fraction": test_fraction,
            "split_seed": split_seed,
            "validation_examples": validation_examples,
        }
        what = os.fspath(table) if isinstance(table, str | os.PathLike) else "The table"
        tables.require_unchanged(table, sha256)
        chosen = divided_rows(what, len(found), **self._split)
        try:
            schema = schema or TableSchema.fit(found, kinds, chosen["train"])
            rows = schema.rows(found)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
        parts: dict[str, Any] = {split: (rows[part], None) for split, part in chosen.items()}
        super().__init__("mixed-table", parts, columns=schema.coordinates)
        self.schema, self.found = schema, str(schema)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return ("mixed-table",)

    @classmethod
    def open(cls, name: str, *, data_dir: str | None = None, **options: Any) -> "MixedTableSource":
        fields = options_of_table(options)
        return cls(fields.pop("file", None), **fields)

    def fitting(self, model: Any) -> "MixedTableSource":
        """Returns the source with the schema of a trained `TableModel`."""
        if model.schema.get_config() == self.schema.get_config():
            return self
        return MixedTableSource(self._table, **self._split, schema=model.schema)

    def rows(self, split: str) -> Rows:
        """Returns the rows of a split, in a fixed order, before any noise.

        Raises:
            ValueError: for a split that the source does not have.
        """
        return self.stored(split).x  # type: ignore[return-value]

    def measured(self, split: str, count: int | None = None) -> tuple[Rows, None]:
        return self.rows(split)[:count], None

    def decoded(self, x: Rows, seed: Sequence[int]) -> np.ndarray:
        """Returns the coordinates of rows, with a draw of their noise."""
        return x.points(seed, density=False).x.astype(np.float32)

    def initial_examples(self, count: int = 8192, *, seed: int) -> tf.Tensor:
        return super().initial_examples(count, seed=seed)
