"""Makes a table a source of pairs: the columns of a density, and those that it depends on."""

import os
from typing import Any

import numpy as np

from iresnet_tf.columns.cells import number
from iresnet_tf.data.source import ArraySource
from iresnet_tf.data.table_source import TableSource, options_of_numbers


class ConditionalTable(ArraySource):
    """The source of pairs ``(x, c)`` of the rows of a table, for ``log p(x | c)``.

    ``c [context]`` are the columns that ``context`` names, in that order, and ``x`` the others.

    Args:
        file: a CSV or ``.npy`` file, see `iresnet_tf.data.tables.load`.
        context: the names of the columns that are given.
        **options: those of `iresnet_tf.data.table_source.TableSource`.

    Raises:
        FileNotFoundError, ValueError: as for a `TableSource`; without context columns, for a name
            that the table lacks or that occurs twice, or if no other column is left.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | None = None,
        *,
        context: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        if file is None or not context:
            raise ValueError(
                "A table and the columns that are given are needed: iresnet train conditional "
                "--csv FILE --context COLUMNS."
            )
        rows = TableSource(file, **options)
        names = rows.columns or ()
        given = [_index(file, name, names) for name in context]
        if len(set(given)) < len(given):
            raise ValueError(f"Name each context column once; received {', '.join(context)}.")
        left = [index for index in range(len(names)) if index not in given]
        if not left:
            raise ValueError(
                f"{file}: every column is a context, so none is left to estimate the density of. "
                f"The columns are: {', '.join(names)}."
            )
        parts = {split: (x[:, left], x[:, given]) for split, (x, _) in rows._parts.items()}
        super().__init__(
            "conditional-table",
            parts,
            columns=tuple(names[index] for index in left),
            context_columns=tuple(context),
        )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return ("conditional-table",)

    @classmethod
    def open(cls, name: str, *, data_dir: str | None = None, **options: Any) -> "ConditionalTable":
        context = options.pop("context", ())
        return cls(**options_of_numbers(options), context=context)


def contexts_of(text: str, names: tuple[str, ...]) -> np.ndarray:
    """Returns the context ``[1, columns]`` that ``"a=1,b=2"`` describes, float32.

    Raises:
        ValueError: for text of another form, or unless every column occurs once.
    """
    values: dict[str, float] = {}
    for item in text.split(","):
        name, _, digits = (part.strip() for part in item.partition("="))
        value = number(digits)
        if value is None or not np.isfinite(value) or name in values:
            raise ValueError(
                f"A context is COLUMN=NUMBER,…, each column once; received {item.strip()!r} in "
                f"{text!r}."
            )
        values[name] = value
    if set(values) != set(names):
        raise ValueError(
            f"A context of this model has the columns {', '.join(names)}; received "
            f"{', '.join(values)}."
        )
    return np.array([[values[name] for name in names]], np.float32)


def _index(file, name, names):
    if name not in names:
        raise ValueError(f"{file} has no column {name!r}. Its columns are: {', '.join(names)}.")
    return names.index(name)
