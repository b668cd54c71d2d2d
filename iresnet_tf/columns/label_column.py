"""Columns of categories, of truth values and of one value."""

from typing import Any

import numpy as np

from iresnet_tf.columns import cells as reading
from iresnet_tf.columns.column import Cells, Column, level_box, uniform, within
from iresnet_tf.columns.levels import Levels


class LabelColumn(Column):
    """A column of labels: one coordinate, `Levels` of the categories.

    A missing cell is one more level, after the categories.

    Args:
        name, description: see `Column`.
        categories: the labels, in the order of their levels.
        has_missing: whether cells may be missing.
        word: the kind in a word, ``"categorical"``, ``"ordered categorical"`` or ``"boolean"``.
        levels: the map, or its configuration.
    """

    def __init__(
        self,
        name: str,
        description: dict[str, Any],
        categories: tuple[Any, ...],
        has_missing: bool,
        word: str,
        levels: Levels | dict[str, Any],
    ) -> None:
        super().__init__(name, description)
        self.categories, self.has_missing, self.word = tuple(categories), has_missing, word
        self.levels = Levels(**levels) if isinstance(levels, dict) else levels

    @classmethod
    def of(cls, series: Any, categories: tuple, word: str, rows: Any) -> "LabelColumn":
        """Returns the column for these categories, with the frequencies of some rows."""
        has_missing = bool(series.isna().any())
        count = len(categories) + has_missing
        description = reading.description_of(series)
        made = cls(series.name, description, categories, has_missing, word, Levels(np.ones(count)))
        (codes,) = made.cells(series)
        made.levels = Levels.of_counts(np.bincount(codes[rows], minlength=count))
        return made

    @property
    def coordinates(self) -> tuple[str, ...]:
        return (self.name,)

    def cells(self, series: Any) -> Cells:
        pd = reading.pandas()
        index = pd.Index(list(self.categories), dtype=object)
        if isinstance(series.dtype, pd.CategoricalDtype):
            own = index.get_indexer(series.cat.categories.astype(object))
            codes = np.append(own, -1)[series.cat.codes.to_numpy()]
        else:
            codes = index.get_indexer(series.astype(object))
        missing = series.isna().to_numpy()
        unknown = np.flatnonzero((codes < 0) & ~missing)
        if len(unknown):
            shown = ", ".join(map(repr, self.categories[:8]))
            shown += ", …" if len(self.categories) > 8 else ""
            raise ValueError(
                f"{reading.place(self.name, unknown[0])}: {reading.shown(series, unknown[0])} is "
                f"none of the {len(self.categories)} categories of the column, {shown}."
            )
        if missing.any() and not self.has_missing:
            raise ValueError(
                f"{reading.place(self.name, np.flatnonzero(missing)[0])}: the cell "
                f"{reading.NEVER_MISSING}."
            )
        codes = np.where(missing, len(self.categories), codes)
        return (codes.astype(np.min_scalar_type(self.levels.count)),)

    def points(
        self, cells: Cells, rng: np.random.Generator, *, density: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        (codes,) = cells
        y, log_det = self.levels.forward(within(codes, uniform(rng, len(codes))))
        return y[:, None], log_det

    def series(self, points: np.ndarray) -> Any:
        codes = np.floor(self.levels.inverse(points[:, 0])).astype(np.int64)
        labels = np.empty(len(self.categories) + 1, object)
        labels[:-1] = self.categories
        labels[-1] = self.categories[0]
        missing = codes == len(self.categories)
        values = labels[codes]
        if not any(isinstance(label, str) for label in self.categories):
            values = np.array(values.tolist())
        return reading.restored(self.name, values, missing, self.description)

    def boxes(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        count = len(self.categories)
        low, high = level_box(self.levels, cells[0].astype(int), self.missing(cells), count)
        return low[:, None], high[:, None]

    def missing(self, cells: Cells) -> np.ndarray:
        return cells[0] == len(self.categories)

    def kind(self) -> str:
        shown = ", ".join(map(str, self.categories[:4]))
        shown += ", …" if len(self.categories) > 4 else ""
        return self.word if self.word == "boolean" else f"{self.word}: {shown}"

    def note(self) -> str:
        words = [] if self.word == "boolean" else [f"{len(self.categories)} categories"]
        if self.has_missing:
            words.append(f"{100.0 * self.levels.probabilities[-1]:.3g} % missing")
        return ", ".join(words)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "categories": list(self.categories),
            "has_missing": self.has_missing,
            "word": self.word,
            "levels": self.levels.get_config(),
        }


class ConstantColumn(Column):
    """A column with one value: no coordinate, the probability 1, and the value given back.

    Args:
        name, description: see `Column`.
        value: the value.
    """

    def __init__(self, name: str, description: dict[str, Any], value: Any) -> None:
        super().__init__(name, description)
        self.value = value

    @property
    def coordinates(self) -> tuple[str, ...]:
        return ()

    def cells(self, series: Any) -> Cells:
        differs = series.isna().to_numpy(copy=True)
        present = ~differs
        differs[present] = series[present].astype(object).to_numpy() != self.value
        others = np.flatnonzero(differs)
        if len(others):
            raise ValueError(
                f"{reading.place(self.name, others[0])}: {reading.shown(series, others[0])} is not "
                f"{self.value!r}, the only value of this column in the training table. Correct it, "
                "or train on a table with both values."
            )
        return ()

    def points(
        self, cells: Cells, rng: np.random.Generator, *, density: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((1, 0)), np.zeros(1)

    def series(self, points: np.ndarray) -> Any:
        values = np.array([self.value] * len(points))
        if isinstance(self.value, str):
            values = values.astype(object)
        return reading.restored(self.name, values, np.zeros(len(points), bool), self.description)

    def boxes(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((1, 0)), np.zeros((1, 0))

    def missing(self, cells: Cells) -> np.ndarray:
        return np.zeros(1, bool)

    def kind(self) -> str:
        return f"constant {self.value!r}"

    def note(self) -> str:
        return "kept aside, and given back in samples"

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "value": self.value}
