"""Estimates the log-density of single points, each with its standard error."""

import dataclasses

import numpy as np

from iresnet_tf.analysis.likelihood import (
    PASSES,
    block_constants,
    choose_estimator,
    negative_log_likelihoods,
    standard_error,
    student_factor,
    truncation_bound,
)
from iresnet_tf.analysis.results import Result
from iresnet_tf.models import DensityModel
from iresnet_tf.numerics import log_det


@dataclasses.dataclass(frozen=True, eq=False)
class LogProbs(Result):
    """``log p(x)`` of each point and the errors of its estimate, nats.

    Attributes:
        mean: ``[n]``, the mean over the passes.
        standard_error: ``[n]``, standard error of the mean due to probes; 0 if nothing is random,
            NaN if there is a single random pass.
        interval_95: ``[n, 2]``, the interval that covers the mean over all probes in 95 % of
            estimates, by Student's t of the passes; NaN like the standard error.
        truncation_bound: bound on the bias of a truncated series, from certified Lipschitz
            constants; infinite if a block is not certified.
    """

    mean: np.ndarray
    standard_error: np.ndarray
    interval_95: np.ndarray
    truncation_bound: float
    estimator: str
    passes: int


def log_probs(
    model: DensityModel,
    x: np.ndarray,
    *,
    estimator: log_det.LogDet | None = None,
    passes: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> LogProbs:
    """Estimates ``log p(x)`` of points, each with its standard error.

    Args:
        model: a built `DensityModel`.
        x: points of data space ``[n, …event]``, as for `DensityModel.log_prob`: for discrete data,
            levels with noise, ``model.dequantized(levels, seed)``.
        estimator: estimator of the log-determinant; by default that of
            `iresnet_tf.analysis.likelihood.choose_estimator`.
        passes: number of repetitions, each with its own probes; by default 5, or 1 for `Exact`.
        batch_size: number of points evaluated at once.
        seed: seed of the probes.

    Raises:
        ValueError: for a model without a density.
    """
    if not model.has_density:
        raise ValueError(
            f"{model.name} has no density, so its points have no log_prob. Train a DensityModel or "
            "a HybridModel."
        )
    estimator = choose_estimator(model) if estimator is None else estimator
    is_random = not isinstance(estimator, log_det.Exact)
    passes = passes or (PASSES if is_random else 1)
    values = -negative_log_likelihoods(
        model,
        x,
        estimator=estimator,
        passes=passes,
        batch_size=batch_size,
        seed=seed,
        add_noise=False,
    )
    mean = values.mean(axis=0)
    error = standard_error(values) if is_random else np.zeros_like(mean)
    reach = error * student_factor(passes)
    return LogProbs(
        mean=mean,
        standard_error=error,
        interval_95=np.stack([mean - reach, mean + reach], axis=1),
        truncation_bound=truncation_bound(block_constants(model.flow), estimator),
        estimator=repr(estimator),
        passes=passes,
    )
