"""Checks posteriors by the ranks of true parameters among posterior samples."""

import dataclasses

import numpy as np
from scipy import stats

from iresnet_tf.analysis.results import Result
from iresnet_tf.models import ConditionalDensityModel
from iresnet_tf.numerics.options import require_integer

LEVEL = 0.01
"""The probability with which calibrated posteriors are called uncalibrated."""

_POINTS = 100_000
"""Number of samples that are drawn at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class ColumnCalibration(Result):
    """The ranks of one parameter.

    Attributes:
        name: name of the parameter.
        counts: number of ranks in each bin of equal width, from the lowest ranks to the highest.
        statistic: ``Σ (count − expected)² / expected``.
        p_value: probability of a larger statistic if the ranks are uniform.
        coverage: fraction of the examples whose parameter lies in the central 50 %, 80 % and 95 %
            of its posterior samples.
    """

    name: str
    counts: tuple[int, ...]
    statistic: float
    p_value: float
    coverage: tuple[float, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class CalibrationStudy(Result):
    """The ranks of every parameter.

    Attributes:
        examples: number of pairs of parameters and data.
        draws: number of posterior samples for each.
        levels: the central probabilities of ``coverage``.
        columns: the ranks of each parameter.
        p_value: smallest p-value of a parameter times the number of parameters, at most 1
            (Bonferroni): the probability of so small a one if all posteriors are calibrated.
        uniform: whether this is at least 0.01.
    """

    examples: int
    draws: int
    levels: tuple[float, ...]
    columns: tuple[ColumnCalibration, ...]
    p_value: float
    uniform: bool


LEVELS = (0.5, 0.8, 0.95)


def study_calibration(
    model: ConditionalDensityModel,
    x: np.ndarray,
    context: np.ndarray,
    *,
    draws: int = 199,
    bins: int | None = None,
    names: tuple[str, ...] | None = None,
    seed: int = 0,
) -> CalibrationStudy:
    """``r_i = #{draws x' ~ p(· | c) : x'_i < x_i}`` for pairs ``(x, c)`` that are new to a model.

    If every posterior is right, each rank is uniform on ``{0, …, draws}``.  Bins that are low at
    both ends mean that the posteriors are too wide, high ones that they are too narrow, and a slope
    that they are shifted.  A chi-squared test measures the deviation.  It is necessary, not
    sufficient: a model that ignores its context has uniform ranks too.

    Args:
        model: a built `ConditionalDensityModel` of vectors.
        x: parameters from the joint distribution, ``[n, columns]``.
        context: their data, ``[n, …context_shape]``.
        draws: number of posterior samples for each pair.
        bins: number of bins of equal width, which divides ``draws + 1``; by default the largest
            that leaves 20 expected ranks in each, at most 20.
        names: names of the columns.
        seed: seed of the samples.

    Raises:
        ValueError: for a model without a context, data that are no vectors, another number of
            contexts than of parameters, or bins that do not divide ``draws + 1``.

    Source: Talts et al. 2018 (arXiv:1804.06788), theorem 1 and §4.
    """
    x, context = np.asarray(x), np.asarray(context)
    if not model.takes_context:
        raise ValueError(
            f"Calibration is a property of posteriors; {model.name} takes no context. Give a "
            "ConditionalDensityModel."
        )
    if x.ndim != 2 or len(x) != len(context):
        raise ValueError(
            "Calibration takes parameters [n, columns] and as many contexts; received shapes "
            f"{x.shape} and {context.shape}."
        )
    require_integer("draws", draws)
    bins = _bins(len(x), draws) if bins is None else bins
    if not 2 <= bins <= draws + 1 or (draws + 1) % bins:
        raise ValueError(
            f"bins is at least 2 and divides draws + 1 = {draws + 1}, so that every bin has as "
            f"many ranks; received {bins!r}."
        )
    ranks = _ranks(model, x, context, draws, seed)
    names = tuple(f"x{index + 1}" for index in range(x.shape[1])) if names is None else names
    columns = tuple(_column(name, rank, draws, bins) for name, rank in zip(names, ranks.T))
    p_value = min(1.0, len(columns) * min(column.p_value for column in columns))
    return CalibrationStudy(
        examples=len(x),
        draws=draws,
        levels=LEVELS,
        columns=columns,
        p_value=p_value,
        uniform=p_value >= LEVEL,
    )


def _bins(examples, draws):
    """Returns the largest number of bins up to 20 with 20 expected ranks in each; at least 2."""
    divisors = [bins for bins in range(2, 21) if (draws + 1) % bins == 0]
    if not divisors:
        raise ValueError(
            f"No number of bins up to 20 divides draws + 1 = {draws + 1}; give 199 draws, or bins."
        )
    return max((bins for bins in divisors if examples >= 20 * bins), default=divisors[0])


def _ranks(model, x, context, draws, seed):
    ranks = np.empty(x.shape, np.int64)
    step = max(1, _POINTS // draws)
    for number, start in enumerate(range(0, len(x), step)):
        here = slice(start, start + step)
        samples = np.asarray(model.sample(draws, context=context[here], seed=[seed, number]))
        ranks[here] = (samples < x[here, None]).sum(1)
    return ranks


def _column(name, ranks, draws, bins):
    counts = np.bincount(ranks * bins // (draws + 1), minlength=bins)
    expected = len(ranks) / bins
    statistic = float(np.square(counts - expected).sum() / expected)
    # The position of the parameter in (0, 1), in the middle of its rank.
    position = (ranks + 0.5) / (draws + 1)
    coverage = [float(np.mean(np.abs(position - 0.5) <= 0.5 * level)) for level in LEVELS]
    return ColumnCalibration(
        name=name,
        counts=tuple(counts.tolist()),
        statistic=statistic,
        p_value=float(stats.chi2.sf(statistic, bins - 1)),
        coverage=tuple(coverage),
    )
