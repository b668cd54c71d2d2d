"""Maps dequantised levels to a standard normal coordinate."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

HALF_LOG_TWO_PI = 0.5 * np.log(2.0 * np.pi)


class Levels:
    """``y = Φ⁻¹(F(v))``, where ``F`` is linear on every cell ``[k, k + 1)`` of level ``k``.

    ``v = k + u`` is a level with noise ``u`` on (0, 1), and cell ``k`` of ``K`` has the
    probability ``p_k``, so ``y`` is standard normal if the levels have these probabilities.
    ``dy/dv = p_k / φ(y)``.  With ``tails``, ``F`` leaves a probability ``ε`` to each side, which
    decays there by ``exp(−distance / scale)``: ``v`` may then be any real number.

    Args:
        probabilities: ``p``, ``[K]``, positive; they are divided by their sum.
        tails: probabilities ``ε`` below cell 0 and above the last cell; zero for none.
        scale: length of the decay, in levels.

    Source: Chen and Gopinath 2000, "Gaussianization", §2 (one-dimensional marginals).
    """

    def __init__(
        self,
        probabilities: ArrayLike,
        tails: tuple[float, float] = (0.0, 0.0),
        scale: float = 1.0,
    ) -> None:
        weights = np.asarray(probabilities, np.float64)
        self.tails, self.scale = (float(tails[0]), float(tails[1])), float(scale)
        self._weights, self.probabilities = weights, weights / weights.sum()
        inner = self.probabilities * (1.0 - sum(self.tails))
        self._inner = inner
        # Sums from both ends, because 1 − F loses all digits where F is close to 1.
        self._below = self.tails[0] + np.concatenate([[0.0], np.cumsum(inner)])
        self._above = self.tails[1] + np.concatenate([np.cumsum(inner[::-1])[::-1], [0.0]])

    @property
    def count(self) -> int:
        """``K``, the number of cells."""
        return len(self.probabilities)

    @classmethod
    def of_counts(cls, counts: ArrayLike, **options: Any) -> "Levels":
        """Returns the map of levels that were seen ``counts`` times.

        Half an observation is added to each level, or less if these were more than a fiftieth of
        all, so that none has the probability zero.
        """
        counts = np.asarray(counts, np.float64)
        return cls(counts + min(0.5, 0.02 * counts.sum() / len(counts)), **options)

    def forward(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps levels with noise, ``v = k + u``, to normal coordinates.

        Returns ``y`` and ``ln dy/dv``, float64, of the shape of ``v``.
        """
        cell = np.clip(np.floor(v), 0, self.count - 1).astype(np.int64)
        share = np.clip(v - cell, 0.0, 1.0)
        below = self._below[cell] + self._inner[cell] * share
        above = self._above[cell + 1] + self._inner[cell] * (1.0 - share)
        log_density = np.log(self._inner[cell])
        y = np.where(below < above, special.ndtri(below), -special.ndtri(above))
        for side, beyond in ((0, -v), (1, v - self.count)):
            outside = beyond > 0.0
            if not outside.any():
                continue
            # The logarithm of the probability does not underflow far outside.
            log_tail = np.log(self.tails[side]) - beyond[outside] / self.scale
            tail = special.ndtri_exp(log_tail)
            y[outside] = tail if side == 0 else -tail
            log_density[outside] = log_tail - np.log(self.scale)
        return y, log_density + 0.5 * np.square(y) + HALF_LOG_TWO_PI

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Returns ``v`` for ``y``, float64 of any shape."""
        below, above = special.ndtr(y), special.ndtr(-y)
        low = np.searchsorted(self._below, below, side="right") - 1
        high = self.count - np.searchsorted(self._above[::-1], above, side="left")
        cell = np.clip(np.where(y < 0.0, low, high), 0, self.count - 1)
        passed = np.where(y < 0.0, below - self._below[cell], self._above[cell] - above)
        v = cell + np.clip(passed / self._inner[cell], 0.0, np.nextafter(1.0, 0.0))
        # Rounding must not carry a number into the next cell.
        v = np.minimum(v, np.nextafter(cell + 1.0, 0.0))
        if self.tails[0]:
            outside = below < self.tails[0]
            distance = np.log(self.tails[0]) - special.log_ndtr(y[outside])
            v[outside] = -np.maximum(self.scale * distance, np.finfo(np.float64).tiny)
        if self.tails[1]:
            outside = above < self.tails[1]
            distance = np.log(self.tails[1]) - special.log_ndtr(-y[outside])
            v[outside] = self.count + self.scale * distance
        return v

    def edges(self, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the interval of ``y`` that belongs to each level, infinite at the ends.

        Args:
            cell: integers; beyond the first or the last level only with tails.
        """
        low, high = (np.asarray(cell + side, np.float64) for side in (0, 1))
        ends = []
        for v in (low, high):
            y, _ = self.forward(v)
            y = np.where((v <= 0.0) & (self.tails[0] == 0.0), -np.inf, y)
            ends.append(np.where((v >= self.count) & (self.tails[1] == 0.0), np.inf, y))
        return ends[0], ends[1]

    def get_config(self) -> dict[str, Any]:
        return {
            "probabilities": self._weights.tolist(),
            "tails": list(self.tails),
            "scale": self.scale,
        }
