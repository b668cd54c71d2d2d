"""Measures the likelihood of test data, and every error of the measurement."""

import dataclasses
import math
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats

from iresnet_tf.analysis.results import Result
from iresnet_tf.columns.schema import Rows
from iresnet_tf.layers import Invertible, residual_blocks, vouched_blocks
from iresnet_tf.layers.blocks import estimator_replaced
from iresnet_tf.models import DensityModel, FlowModel, bits_per_dim
from iresnet_tf.numerics import log_det, random

EXACT_DIMENSION = 256
"""Largest dimension in which evaluation uses the exact log-determinant by default."""

TARGET_BOUND = 0.005
"""Largest truncation bound, in bits/dim, that evaluation accepts above that dimension."""

UNCERTIFIED_TERMS = 50
"""Number of terms for a flow with an uncertified block, where no number bounds the truncation."""

PASSES = 5
"""Number of passes of an evaluation with noise or probes."""

_MAX_TERMS = 1000


@dataclasses.dataclass(frozen=True)
class Likelihood(Result):
    """The mean negative log-likelihood of test data: bits/dim for discrete data, else nats.

    Attributes:
        mean: mean over the examples and the passes.
        standard_error: standard error of the mean due to noise and probes; 0 if nothing is
            random, NaN if there is a single random pass.
        interval_95: interval that covers the mean over all noise and probes in 95 % of
            evaluations, by Student's t of the passes; NaN like the standard error.
        sampling_error: standard error of the mean due to the finite test set.
        truncation_bound: bound on the bias of a truncated series, from certified Lipschitz
            constants; infinite if a block is not certified.
        vouched: whether ``truncation_bound`` rests on a constant that somebody gave.
        passes: number of repetitions, each with its own noise and probes.
    """

    mean: float
    standard_error: float
    interval_95: tuple[float, float]
    sampling_error: float
    truncation_bound: float
    vouched: bool
    estimator: str
    passes: int
    examples: int


def likelihood(
    model: DensityModel,
    x: np.ndarray,
    *,
    estimator: log_det.LogDet | None = None,
    passes: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
    context: np.ndarray | None = None,
) -> Likelihood:
    """Measures the likelihood of test data and its errors.

    Args:
        model: a built `DensityModel`.
        x: test data ``[n, …event]``; levels if the model dequantises.
        estimator: estimator of the log-determinant; by default that of `choose_estimator`.
        passes: number of repetitions, each with its own dequantisation noise and probes; by
            default 5 if anything is random, else 1.
        batch_size: number of examples evaluated at once.
        seed: seed of noise and probes.
        context: contexts ``[n, …context_shape]``, for a model that takes them.
    """
    estimator = choose_estimator(model) if estimator is None else estimator
    is_discrete = model.dequantize is not None
    is_random = is_discrete or not isinstance(estimator, log_det.Exact)
    passes = passes or (PASSES if is_random else 1)
    nats = negative_log_likelihoods(
        model,
        x,
        estimator=estimator,
        passes=passes,
        batch_size=batch_size,
        seed=seed,
        context=context,
    )
    unit = bits_per_dim(1.0, model.dimension) if is_discrete else 1.0
    return summary(model, nats, estimator, is_random=is_random, unit=unit)


def summary(
    model: DensityModel,
    nats: np.ndarray,
    estimator: log_det.LogDet,
    *,
    is_random: bool,
    unit: float = 1.0,
) -> Likelihood:
    """Returns the mean of negative log-likelihoods and its errors.

    Args:
        model: whose likelihood it is.
        nats: from `negative_log_likelihoods`, ``[passes, n]``.
        estimator: with which they were measured.
        is_random: whether they depend on noise or probes.
        unit: factor from nats to the unit of the result.
    """
    passes = len(nats)
    mean, error = float(nats.mean()), 0.0
    if is_random:
        error = float(standard_error(nats.mean(axis=1)))
    reach = error * student_factor(passes)
    return Likelihood(
        mean=mean * unit,
        standard_error=error * unit,
        interval_95=((mean - reach) * unit, (mean + reach) * unit),
        sampling_error=float(standard_error(nats.mean(axis=0))) * unit,
        truncation_bound=truncation_bound(block_constants(model.flow), estimator) * unit,
        vouched=bool(vouched_blocks(model.flow)),
        estimator=repr(estimator),
        passes=passes,
        examples=nats.shape[1],
    )


def negative_log_likelihoods(
    model: DensityModel,
    x: np.ndarray | Rows,
    *,
    estimator: log_det.LogDet | None = None,
    passes: int = 1,
    batch_size: int = 128,
    seed: int = 0,
    add_noise: bool = True,
    context: np.ndarray | None = None,
) -> np.ndarray:
    """``−log p(x + u)`` of every example in every pass, ``[passes, n]``, nats, float64.

    Each pass draws its own noise ``u`` (zero for continuous data) and probes.  The arguments are
    those of `likelihood`; without ``add_noise``, ``x`` are points of data space and ``u = 0``.
    ``x`` may also be the `Rows` of a table, whose cells have noise of their own.
    """
    estimator = choose_estimator(model) if estimator is None else estimator
    with estimator_replaced(model.flow, estimator):

        @tf.function(autograph=False, reduce_retracing=True)
        def log_prob(batch, batch_context, pass_seed):
            if add_noise:
                batch = model.dequantized(batch, random.fold_in(pass_seed, 0))
            return model.log_prob(batch, seed=random.fold_in(pass_seed, 1), context=batch_context)

        rows = []
        for number in range(passes):
            pass_seed = random.fold_in(random.as_seed(seed), number)
            parts = []
            for start in range(0, len(x), batch_size):
                chosen, added = x[start : start + batch_size], np.zeros(1)
                if isinstance(chosen, Rows):
                    chosen, added = chosen.points([seed, number, start])
                batch, given = tf.constant(chosen, model.compute_dtype), None
                if context is not None:
                    given = tf.constant(context[start : start + batch_size], model.compute_dtype)
                own_seed = random.fold_in(pass_seed, start)
                parts.append(log_prob(batch, given, own_seed).numpy() + added)
            rows.append(-np.concatenate(parts))
    return np.stack(rows).astype(np.float64)


class BlockConstants(NamedTuple):
    """The constants of a block that its truncation bound depends on.

    Attributes:
        dimension: ``D``.
        lipschitz: ``L``, certified or infinite.
        target: the constant that training holds ``g`` to, or ``None``.
        is_euclidean: whether both bound the change of ``g`` in the 2-norm.
    """

    dimension: int
    lipschitz: float
    target: float | None
    is_euclidean: bool

    def spectral_target(self) -> float:
        """Returns the target if it bounds ``‖J‖₂``, else infinity."""
        return self.target if self.is_euclidean and self.target is not None else math.inf

    def truncation_bound(self, estimator: log_det.LogDet) -> float:
        """Bounds the truncation error of the block's log-determinant, in nats."""
        if estimator.takes_spectral_bound and not self.is_euclidean:
            return math.inf
        own = estimator.for_target(self.target)
        return self.dimension * own.truncation_bound(self.lipschitz)


def block_constants(flow: Invertible) -> list[BlockConstants]:
    """Returns the constants of every residual block."""
    return [
        BlockConstants(
            math.prod(block.event_shape),
            float(block.lipschitz_bound_or_inf()),
            block.lipschitz_target_or_none(),
            block.is_euclidean(),
        )
        for block in residual_blocks(flow)
    ]


def truncation_bound(constants: Iterable[BlockConstants], estimator: log_det.LogDet) -> float:
    """``Σ_blocks D_block b_block`` bounds the truncation error, in nats a sample.

    ``b`` is the estimator's `LogDet.truncation_bound` for the block, in nats per dimension.

    Args:
        constants: of every block, from `block_constants`.
        estimator: of the log-determinant; one that adapts follows the target of each block.
    """
    return math.fsum(block.truncation_bound(estimator) for block in constants)


def choose_estimator(model: FlowModel) -> log_det.LogDet:
    """Returns `Exact` up to 256 dimensions, else an estimator within 0.005 bits/dim.

    That is `Krylov` with the fewest products that meet the bound, of which every dimension of every
    block gets an equal share.  If a block is bounded in another norm than the 2-norm, it is the
    shortest `PowerSeries`.  Either is `Coloured`, which reduces its noise to a fraction.

    If a block is not certified as a contraction, no number of terms bounds the truncation: then
    this warns, and returns a series of `UNCERTIFIED_TERMS` terms.

    Raises:
        ValueError: if the series would need more than a thousand terms.
    """
    if model.dimension <= EXACT_DIMENSION:
        return log_det.Exact()
    lipschitz = model.lipschitz_bounds()
    worst = max(lipschitz, key=lipschitz.__getitem__, default=None)
    if worst is not None and lipschitz[worst] >= 1.0:
        warnings.warn(
            f"Block {worst} is not certified as a contraction (bound {lipschitz[worst]:.4g}), so "
            f"no number of terms bounds the truncation; {UNCERTIFIED_TERMS} terms are used.",
            stacklevel=2,
        )
        return log_det.Coloured(log_det.PowerSeries(UNCERTIFIED_TERMS))
    constants = block_constants(model.flow)
    target = TARGET_BOUND * model.dimension * math.log(2.0)
    if all(block.spectral_target() < 1.0 for block in constants):
        share = target / max(1, sum(block.dimension for block in constants))
        estimator = log_det.Krylov("auto", truncation=share)
        # Where constants exceed their targets, the bound exceeds the share.
        excess = max(1.0, truncation_bound(constants, estimator) / target)
        if excess < math.inf:
            return log_det.Coloured(log_det.Krylov("auto", truncation=share / excess))
    for terms in range(1, _MAX_TERMS + 1):
        series = log_det.PowerSeries(terms)
        if truncation_bound(constants, series) <= target:
            return log_det.Coloured(series)
    raise ValueError(
        f"A truncation bound of {TARGET_BOUND} bits/dim would need more than {_MAX_TERMS} terms: "
        f"the largest certified Lipschitz constant is {max(lipschitz.values()):.6g}. Choose an "
        "estimator, for example PowerSeries(100), whose bound is then reported."
    )


def standard_error(values: np.ndarray) -> np.ndarray:
    """``s / √n`` for independent values along the first axis; NaN for a single value."""
    if len(values) == 1:
        return np.full(values.shape[1:], math.nan)
    return values.std(axis=0, ddof=1) / math.sqrt(len(values))


def student_factor(passes: int) -> float:
    """Returns half a 95 % interval by Student's t, in standard errors; 1 for a single pass."""
    return float(stats.t.ppf(0.975, passes - 1)) if passes > 1 else 1.0
