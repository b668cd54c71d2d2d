"""Makes a table of mixed columns a data source."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from iresnet_tf.columns import TableSchema, read
from iresnet_tf.columns.schema import Rows
from iresnet_tf.data import tables
from iresnet_tf.data.held_out import divided_rows
from iresnet_tf.data.source import SPLITS, Examples, Source, batch_order
from iresnet_tf.data.table_source import options_of_table


class MixedTableSource(Source):
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
        self._chosen = divided_rows(what, len(found), **self._split)
        try:
            if schema is None:
                schema = TableSchema.fit(found, kinds, self._chosen["train"])
            self.schema = schema
            self._rows = self.schema.rows(found)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
        super().__init__("mixed-table", (self.schema.width,), columns=self.schema.coordinates)
        self.found = str(self.schema)

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
        if split not in SPLITS:
            raise ValueError(f"A split is one of {SPLITS}; received {split!r}.")
        if not len(self._chosen[split]):
            raise ValueError(
                f"No examples of {self.name} are held out for {split}: see "
                "data.validation_examples."
            )
        return self._rows[self._chosen[split]]

    def measured(self, split: str, count: int | None = None) -> tuple[Rows, None]:
        return self.rows(split)[:count], None

    def examples(self, split: str, count: int | None = None) -> Examples:
        """Returns the coordinates of the first rows, with a draw of the noise that is fixed."""
        points = self.rows(split)[:count].points([SPLITS.index(split), 0], density=False)
        return Examples(points.x.astype(np.float32), None)

    def stream(
        self, batch_size: int, *, seed: int, skip: int = 0, augmentation: str | None = None
    ) -> tf.data.Dataset:
        self._require_augmentable(augmentation)
        rows, chosen, width = self._rows, self._chosen["train"], self.schema.width
        order = batch_order(len(chosen), batch_size, seed)

        def drawn(index):
            points = rows[chosen[order(index)]].points([seed, index], density=False)
            return points.x.astype(np.float32)

        def batch(index):
            return tf.ensure_shape(
                tf.numpy_function(drawn, [index], tf.float32), [batch_size, width]
            )

        indices = tf.data.Dataset.counter(start=skip)
        return indices.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)

    def initial_examples(self, count: int = 8192, *, seed: int) -> tf.Tensor:
        return super().initial_examples(count, seed=seed)
