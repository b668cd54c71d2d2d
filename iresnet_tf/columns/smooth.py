"""Maps numbers of any scale to a roughly standard normal coordinate, smoothly."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

FIRST_KNOTS, MOST_KNOTS = 12, 80
ROWS_PER_KNOT = 25
MOST_ROWS = 20_000
"""Number of rows above which a part of them, evenly spread, decides where knots are added."""

DEVIATION = 0.7
"""Largest deviation from the distribution function of ``n`` rows, times ``√n``: about its noise."""

ROWS_BEYOND = 5
"""Number of rows beyond the first knot, and as many beyond the last one."""

SMALLEST_TAIL = 0.02
"""Smallest slope of a tail, so that no sample within ten standard deviations overflows."""


class Smooth:
    """``y = s(asinh((ℓ(x) − m) / c))``: link ``ℓ``, location ``m``, scale ``c``, spline ``s``.

    The link takes a bound away: ``ℓ(x) = ln(x − a)`` for a lower bound, ``−ln(b − x)`` for an
    upper one, ``ln(x − a) − ln(b − x)`` for both, and ``x`` for none.  ``m`` is the median, and
    ``c`` the interquartile range divided by 1.35.  ``s`` is a monotone rational quadratic spline
    through quantiles, with a continuous derivative, and linear outside.  Since ``asinh`` is a
    logarithm far outside, the tails of ``x`` decay like those of a lognormal law, and no finite
    number overflows.

    Args:
        lower, upper: bounds, or ``None``.
        location, scale: ``m`` and ``c``.
        knots, values: arguments and values of ``s`` at its knots, increasing, at least two.

    Source: Gregory and Delbourgo 1982, "Piecewise rational quadratic interpolation to monotonic
    data"; Durkan et al. 2019 (arXiv:1906.04032), for its inverse.
    """

    def __init__(
        self,
        lower: float | None,
        upper: float | None,
        location: float,
        scale: float,
        knots: ArrayLike,
        values: ArrayLike,
    ) -> None:
        self.lower, self.upper = lower, upper
        self.location, self.scale = float(location), float(scale)
        self.knots, self.values = np.asarray(knots, np.float64), np.asarray(values, np.float64)
        self._slopes = _slopes(self.knots, self.values)

    @classmethod
    def of_values(cls, x: ArrayLike, lower: float | None, upper: float | None) -> "Smooth":
        """Returns the map under which the numbers ``x [n]``, strictly within bounds, are normal."""
        x = np.asarray(x, np.float64)
        linked, _ = _link(x, lower, upper)
        first, location, third = np.quantile(linked, [0.25, 0.5, 0.75])
        scale = (third - first) / 1.349
        if not scale > 0.0:  # Half of the numbers are equal.
            scale = _deviation(linked)
        t = np.sort(np.arcsinh((linked - location) / scale))
        outer = special.ndtri(min(0.16, ROWS_BEYOND / len(t)))
        count = max(2, min(FIRST_KNOTS, len(t) // ROWS_PER_KNOT))
        knots = np.quantile(t, special.ndtr(np.linspace(outer, -outer, count)))
        return cls(lower, upper, location, scale, *_refined(t, knots))

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns ``y`` and ``ln dy/dx`` for ``x`` within the bounds, float64 of any shape."""
        linked, log_link = _link(x, self.lower, self.upper)
        z = (linked - self.location) / self.scale
        y, log_spline = self._spline(np.arcsinh(z))
        # ln d asinh(z)/dz, which does not overflow for a large z.
        log_asinh = -np.log(np.hypot(1.0, z))
        return y, log_link + log_spline + log_asinh - math.log(self.scale)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Returns ``x`` for ``y``, strictly within the bounds."""
        t = self._spline_inverse(y)
        with np.errstate(over="ignore"):
            linked = self.location + self.scale * np.sinh(t)
        return _unlink(linked, self.lower, self.upper)

    def _cell(self, values, edges):
        return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)

    def _spline(self, t):
        k = self._cell(t, self.knots)
        width, height = np.diff(self.knots)[k], np.diff(self.values)[k]
        mean, left, right = height / width, self._slopes[k], self._slopes[k + 1]
        share = np.clip((t - self.knots[k]) / width, 0.0, 1.0)
        rest = 1.0 - share
        below = mean + (left + right - 2.0 * mean) * share * rest
        y = self.values[k] + height * (mean * share**2 + left * share * rest) / below
        top = right * share**2 + 2.0 * mean * share * rest + left * rest**2
        slope = mean**2 * top / below**2
        y = y + left * np.minimum(t - self.knots[0], 0.0)
        y = y + right * np.maximum(t - self.knots[-1], 0.0)
        return y, np.log(slope)

    def _spline_inverse(self, y):
        k = self._cell(y, self.values)
        width, height = np.diff(self.knots)[k], np.diff(self.values)[k]
        mean, left, right = height / width, self._slopes[k], self._slopes[k + 1]
        risen = np.clip(y - self.values[k], 0.0, height)
        bend = risen * (left + right - 2.0 * mean)
        a = height * (mean - left) + bend
        b = height * left - bend
        c = -mean * risen
        root = np.sqrt(np.maximum(b**2 - 4.0 * a * c, 0.0))
        share = np.where(risen > 0.0, 2.0 * c / (-b - root), 0.0)
        t = self.knots[k] + width * np.clip(share, 0.0, 1.0)
        t = t + np.minimum(y - self.values[0], 0.0) / left
        return t + np.maximum(y - self.values[-1], 0.0) / right

    def get_config(self) -> dict[str, Any]:
        return {
            "lower": self.lower,
            "upper": self.upper,
            "location": self.location,
            "scale": self.scale,
            "knots": self.knots.tolist(),
            "values": self.values.tolist(),
        }


def _refined(t, knots):
    """Returns knots and values of the spline of sorted numbers, more where they are needed.

    Knots are added where the spline is far from the distribution function, one between two knots
    at a time.
    """
    few = t[:: max(1, len(t) // MOST_ROWS)]
    share = _distribution(few, few)
    tolerance = DEVIATION / np.sqrt(len(few))
    before = 0
    while True:
        knots, values = _rising(t, knots)
        if len(knots) < 2:
            return np.array([-1.0, 1.0]), np.array([-1.0, 1.0])
        spline = Smooth(None, None, 0.0, 1.0, knots, values)
        inner = (few > knots[0]) & (few < knots[-1])
        y, _ = spline._spline(few[inner])
        deviation = np.abs(special.ndtr(y) - share[inner])
        cell = spline._cell(few[inner], knots)
        worst = np.zeros(len(knots) - 1)
        np.maximum.at(worst, cell, deviation)
        most = min(MOST_KNOTS, len(t) // ROWS_PER_KNOT) - len(knots)
        chosen = (deviation == worst[cell]) & (deviation > tolerance)
        _, first = np.unique(cell[chosen], return_index=True)
        added = np.setdiff1d(few[inner][chosen][first], knots)
        # Where numbers are rounded, a knot may fall on another one.
        if not before < len(knots) or not len(added) or most < len(added):
            return knots, values
        before = len(knots)
        knots = np.union1d(knots, added)


def _rising(t, knots):
    """Returns those of the knots that differ, and the normal quantiles of their ranks."""
    span = knots[-1] - knots[0]
    knots = knots[np.concatenate([[True], np.diff(knots) > 1e-9 * span])] if span > 0 else knots[:1]
    share = np.clip(_distribution(t, knots), 0.5 / len(t), 1.0 - 0.5 / len(t))
    values = special.ndtri(share)
    rising = np.concatenate([[True], np.diff(values) > 1e-9])
    return knots[rising], values[rising]


def _distribution(t, at):
    """Returns the distribution function of sorted numbers, the mean of its sides at a jump."""
    ranks = np.searchsorted(t, at, "left") + np.searchsorted(t, at, "right")
    return 0.5 * ranks / len(t)


def _deviation(values):
    deviation = float(np.std(values))
    return deviation if deviation > 0.0 and math.isfinite(deviation) else 1.0


def _slopes(knots, values):
    """Returns the derivatives of the spline at its knots: harmonic means of those beside."""
    secants = np.diff(values) / np.diff(knots)
    widths = np.diff(knots)
    first, second = widths[:-1] + 2.0 * widths[1:], 2.0 * widths[:-1] + widths[1:]
    inner = (first + second) / (second / secants[:-1] + first / secants[1:])
    ends = np.maximum(secants[[0, -1]], SMALLEST_TAIL)
    return np.concatenate([ends[:1], inner, ends[1:]])


def _link(x, lower, upper):
    """Returns the linked number and the logarithm of its derivative."""
    if lower is None and upper is None:
        return x, np.zeros_like(x)
    if upper is None:
        below = np.log(x - lower)
        return below, -below
    above = np.log(upper - x)
    if lower is None:
        return -above, -above
    below = np.log(x - lower)
    return below - above, math.log(upper - lower) - below - above


def _unlink(linked, lower, upper):
    largest = np.finfo(np.float64).max
    with np.errstate(over="ignore", under="ignore"):
        if lower is None and upper is None:
            return np.clip(linked, -largest, largest)
        if upper is None:
            x = np.minimum(lower + np.exp(linked), largest)
        elif lower is None:
            x = np.maximum(upper - np.exp(-linked), -largest)
        else:
            # From the nearer bound, so that the distance to it keeps its digits.
            from_lower = lower + (upper - lower) * special.expit(linked)
            from_upper = upper - (upper - lower) * special.expit(-linked)
            x = np.where(linked < 0.0, from_lower, from_upper)
    if lower is not None:
        x = np.maximum(x, np.nextafter(lower, math.inf))
    if upper is not None:
        x = np.minimum(x, np.nextafter(upper, -math.inf))
    return x
