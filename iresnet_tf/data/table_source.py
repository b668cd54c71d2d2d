"""Makes a table of numbers a data source."""

import os
from typing import Any

from iresnet_tf.data import tables
from iresnet_tf.data.held_out import divided_rows
from iresnet_tf.data.source import ArraySource


class TableSource(ArraySource):
    """The source of the rows of a table, ``[columns]`` each, in a random order that is fixed.

    Args:
        file: a CSV or ``.npy`` file, see `iresnet_tf.data.tables.load`.
        sha256: the SHA-256 that the file must have, or ``None``.
        test_fraction: fraction of the rows, at the start of the order, that is held out for tests.
        split_seed: seed of the order.
        validation_examples: number of rows, at the end of the order, held out for validation.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: without a file; for a file that has changed or is not a table of numbers; for
            a split with an empty part.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | None = None,
        *,
        sha256: str | None = None,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        validation_examples: int = 0,
    ) -> None:
        if file is None:
            raise ValueError("A table is needed: iresnet train tabular --csv FILE.")
        table = tables.load(file)
        tables.require_unchanged(file, sha256)
        parts = divided_rows(
            os.fspath(file),
            len(table.values),
            test_fraction=test_fraction,
            split_seed=split_seed,
            validation_examples=validation_examples,
        )
        # A column may be constant in one part only, for example an indicator of a rare property.
        for name, values in zip(table.columns, table.values[parts["train"]].T):
            if values.min() == values.max():
                raise ValueError(
                    f"{file}: column {name!r} is constant in the training rows, {values[0]:g}. "
                    "Leave it out, or draw another split: data.table.split_seed."
                )
        arrays = {split: (table.values[chosen], None) for split, chosen in parts.items()}
        super().__init__("table", arrays, columns=table.columns)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return ("table",)

    @classmethod
    def open(cls, name: str, *, data_dir: str | None = None, **options: Any) -> "TableSource":
        return cls(**options_of_numbers(options))


def options_of_table(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a source of a table, from the options of `iresnet_tf.data.get`.

    Raises:
        ValueError: for an option that is for images.
    """
    others = {name: options[name] for name in options.keys() - {"table", "validation_examples"}}
    if others:
        raise ValueError(
            f"size, pad_to, bits and only_class are for images, not for a table; received {others}."
        )
    table = options.get("table") or {}
    return {**table, "validation_examples": options.get("validation_examples", 0)}


def options_of_numbers(options: dict[str, Any]) -> dict[str, Any]:
    """Returns `options_of_table` for a table of numbers, which has no kinds of columns.

    Raises:
        ValueError: also for kinds of columns.
    """
    fields = options_of_table(options)
    kinds = fields.pop("kinds", None)
    if kinds:
        raise ValueError(
            f"A table of numbers has no kinds of columns; received {kinds}. Give "
            "data.name=mixed-table."
        )
    return fields
