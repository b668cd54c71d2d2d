"""Defines what every column of a table can do, and draws the noise of its cells."""

from typing import Any, ClassVar

import numpy as np

from iresnet_tf.columns.levels import HALF_LOG_TWO_PI, Levels

Cells = tuple[np.ndarray, ...]
"""The cells of a column in compact arrays, ``[rows]`` each."""


class Column:
    """A column of a table, as some standard normal coordinates.

    Args:
        name: of the column.
        description: of its dtype, see `iresnet_tf.columns.cells.description_of`.
    """

    is_discrete: ClassVar[bool] = True
    """Whether the likelihood of a cell is a probability, and not a density."""

    def __init__(self, name: str, description: dict[str, Any]) -> None:
        self.name, self.description = name, description

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The names of the coordinates."""
        raise NotImplementedError

    def cells(self, series: Any) -> Cells:
        """Returns the cells of a pandas column.

        Raises:
            ValueError: if a cell is not among the values that the column allows; the message names
                its row.
        """
        raise NotImplementedError

    def points(
        self, cells: Cells, rng: np.random.Generator, *, density: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws the coordinates of cells.

        Args:
            cells: from `cells`.
            rng: of the noise.
            density: whether the second result is needed; else it may be anything.

        Returns:
            coordinates, float64 ``[rows, width]``; and ``[rows]``, what is added to their
            log-density for a bound on the log-likelihood of the cells, in nats.
        """
        raise NotImplementedError

    def series(self, points: np.ndarray) -> Any:
        """Returns the pandas column of coordinates ``[rows, width]``."""
        raise NotImplementedError

    def boxes(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """Returns the intervals of coordinates that stand for the same cells.

        A missing cell has the coordinates of every value.

        Returns:
            lower and upper ends, ``[rows, width]``, which are equal where a cell is one point.
        """
        raise NotImplementedError

    def missing(self, cells: Cells) -> np.ndarray:
        """Returns which cells are missing, bool ``[rows]``."""
        raise NotImplementedError

    def kind(self) -> str:
        """Returns the kind of the column in words."""
        raise NotImplementedError

    def note(self) -> str:
        """Returns what else there is to say about the column."""
        return ""

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "description": self.description}


def uniform(rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns numbers on the open interval (0, 1), float64 ``[count]``."""
    return np.clip(rng.random(count), 2.0**-54, 1.0 - 2.0**-53)


def within(cell: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Returns ``k + u`` inside the cell ``(k, k + 1)``, whatever rounding does."""
    cell = cell.astype(np.float64)
    low, high = np.nextafter(cell, np.inf), np.nextafter(cell + 1.0, -np.inf)
    return np.clip(cell + noise, low, high)


def filled(
    y: np.ndarray, log_det: np.ndarray, absent: np.ndarray, rng: np.random.Generator
) -> None:
    """Puts noise in the place of absent coordinates, in place.

    For any density ``p``, ``ln ∫ p(ε) dε ≥ E[ln p(ε) − ln φ(ε)]`` with standard normal ``ε``.
    """
    noise = rng.standard_normal(int(absent.sum()))
    y[absent] = noise
    log_det[absent] = 0.5 * np.square(noise) + HALF_LOG_TWO_PI


def level_box(levels: Levels, cell: np.ndarray, free: np.ndarray, count: int):
    """Returns the ends of the cells, or those of the first ``count`` levels where ``free``."""
    low, high = levels.edges(cell)
    first = levels.edges(np.zeros(1, np.int64))[0]
    last = levels.edges(np.full(1, count - 1))[1]
    return np.where(free, first, low), np.where(free, last, high)
