"""Sources of vectors: the 2-D densities, and the rows of a table."""

import numpy as np
import tensorflow as tf

from iresnet_tf.data import densities, tables
from iresnet_tf.data.source import SPLITS, Source, shuffled


class Toy(Source):
    """An endless stream of points of a 2-D density, with a fixed test set.

    Args:
        name: ``"toy-"`` and one of `densities.NAMES`.
    """

    event_shape = (2,)

    def __init__(self, name: str) -> None:
        self.name = name
        self.density = name.removeprefix("toy-")

    def stream(
        self, batch_size: int, *, seed: int, skip: int = 0, augmentation: str | None = None
    ) -> tf.data.Dataset:
        _require_no_augmentation(self.name, augmentation)
        return densities.stream(self.density, batch_size, seed, skip)

    def examples(self, split: str, count: int | None = None) -> tuple[np.ndarray, None]:
        if split != "test":
            raise ValueError(
                f"{self.name} is an endless stream with a fixed test set; received {split!r}."
            )
        return densities.test_set(self.density)[:count], None


class TableRows(Source):
    """The rows of a table, ``[columns]`` each, in an order that is drawn once.

    Args:
        file: a CSV or ``.npy`` file: see `iresnet_tf.data.tables.load`.
        sha256: the digest that the file must have; any if ``None``.
        test_fraction: share of the rows that is held out for the test, the first in that order.
        split_seed: seed of the order.
        validation_examples: number of rows that are held out of the stream, the last ones.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: without a file, for one that has changed or is no table of numbers, or if the
            split leaves no rows to train or to test on.
    """

    name = "table"

    def __init__(
        self,
        file: str | None = None,
        *,
        sha256: str | None = None,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        validation_examples: int = 0,
    ) -> None:
        if file is None:
            raise ValueError("A table is needed: iresnet train tabular --csv FILE.")
        table = tables.load(file)
        if sha256 is not None and tables.digest(file) != sha256:
            raise ValueError(
                f"{file} has changed since the run began: its SHA-256 is not {sha256}. Restore it, "
                "or train a new run on it."
            )
        rows = len(table.values)
        order = np.random.default_rng(split_seed).permutation(rows)
        test, last = round(test_fraction * rows), rows - validation_examples
        if not 0 < test < last:
            raise ValueError(
                f"{file} has {rows} rows, too few for a test fraction of {test_fraction} and "
                f"{validation_examples} validation examples and rows to train on."
            )
        parts = {"test": order[:test], "train": order[test:last], "validation": order[last:]}
        self.rows = {split: table.values[part] for split, part in parts.items()}
        self.columns, self.event_shape = table.columns, (len(table.columns),)
        # A column of rare events may be constant in the training rows alone.
        for name, values in zip(table.columns, self.rows["train"].T):
            if values.std() == 0.0:
                raise ValueError(
                    f"{file}: column {name!r} is constant in the training rows, {values[0]:g}. "
                    "Leave it out, or draw another split: data.table.split_seed."
                )

    def stream(
        self, batch_size: int, *, seed: int, skip: int = 0, augmentation: str | None = None
    ) -> tf.data.Dataset:
        _require_no_augmentation("A table", augmentation)
        return shuffled(self.rows["train"], None, batch_size, seed=seed, skip=skip)

    def examples(self, split: str, count: int | None = None) -> tuple[np.ndarray, None]:
        if split not in SPLITS:
            raise ValueError(f"A split is one of {SPLITS}; received {split!r}.")
        if not len(self.rows[split]):
            raise ValueError(
                "No examples are held out for validation: see data.validation_examples."
            )
        return self.rows[split][:count], None


def _require_no_augmentation(name, augmentation):
    if augmentation is not None:
        raise ValueError(f"{name} has no images to augment; received {augmentation!r}.")
