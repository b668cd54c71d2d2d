"""The evaluation of a trained model: every number with its errors."""

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import scipy.special
import tensorflow as tf

from iresnet_tf.analysis.study import finite_or_none
from iresnet_tf.layers import Invertible, refresh, residual_blocks
from iresnet_tf.models import DensityModel, FlowModel, bits_per_dim
from iresnet_tf.numerics import random
from iresnet_tf.numerics.log_det import Exact, LogDet, PowerSeries

EXACT_DIMENSION = 256
"""Largest dimension in which evaluation takes the exact log-determinant."""

TARGET_BOUND = 0.005
"""Largest truncation bound in higher dimensions, bits/dim."""

_MAX_TERMS = 1000

UNCERTIFIED_TERMS = 50
"""Number of terms if nothing bounds the truncation, so that no number of them is safe."""


def evaluate(
    model: FlowModel,
    x: np.ndarray,
    y: np.ndarray | None = None,
    *,
    estimator: LogDet | None = None,
    passes: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluates a model on test data: likelihood, accuracy, reconstruction and certificate.

    Args:
        model: a built model.
        x: test data ``[n, …event]``; levels for discrete data.
        y: classes ``[n]``, for a model that classifies.
        estimator, passes: see `likelihood`.
        batch_size: number of examples evaluated at once.
        seed: seed of noise and probes.

    Returns:
        dict with the keys of `likelihood` for a model with a density, those of `classification`
        for one that classifies, and ``reconstruction`` and ``lipschitz``.

    Raises:
        ValueError: if a model that classifies gets no classes.
    """
    refresh(model)
    lipschitz = model.lipschitz_bounds()
    options: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    result = {}
    if model.has_density:
        result.update(likelihood(model, x, estimator=estimator, passes=passes, **options))
    if model.classes is not None:
        result.update(classification(model, x, y, **options))
    result["reconstruction"] = reconstruction(model, x[:batch_size], seed=seed)
    result["lipschitz"] = {
        "certified_max": finite_or_none(max(lipschitz.values(), default=0.0)),
        "per_block": {name: finite_or_none(bound) for name, bound in lipschitz.items()},
    }
    return result


def likelihood(
    model: DensityModel,
    x: np.ndarray,
    *,
    estimator: LogDet | None = None,
    passes: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the likelihood of test data with its errors.

    Each of the ``passes`` draws its own dequantisation noise and probes.
    ``standard_error`` is the error of the mean that these leave, ``sampling_error`` that of the
    finite test set, and ``truncation_bound`` the largest possible error of a truncated series:
    see `truncation_bound`, with certified ``L``.

    Args:
        model: a built model with a density.
        x: test data ``[n, …event]``; levels if the model dequantises.
        estimator: estimator of the log-determinant; by default `Exact` up to 256 dimensions,
            else the shortest series whose bound is at most 0.005 bits/dim.
        passes: number of passes; by default 5 if anything is random, else 1.
        batch_size: number of examples evaluated at once.
        seed: seed of noise and probes.

    Returns:
        dict with ``bits_per_dim`` (discrete data) or ``nll`` (nats), each
        ``{mean, standard_error, sampling_error, truncation_bound, estimator, …}``.
    """
    estimator = choose_estimator(model) if estimator is None else estimator
    is_discrete = model.dequantize is not None
    is_random = is_discrete or not isinstance(estimator, Exact)
    passes = passes or (5 if is_random else 1)
    nats = negative_log_likelihoods(
        model, x, estimator=estimator, passes=passes, batch_size=batch_size, seed=seed
    )
    unit = (1.0 / (model.dimension * math.log(2.0))) if is_discrete else 1.0
    bound = truncation_bound(block_constants(model.flow), estimator)
    numbers = {
        "mean": float(nats.mean()) * unit,
        "standard_error": _standard_error(nats.mean(axis=1), unit) if is_random else 0.0,
        "sampling_error": _standard_error(nats.mean(axis=0), unit),
        "truncation_bound": finite_or_none(bound * unit),
        "estimator": repr(estimator),
        "passes": passes,
        "examples": len(x),
    }
    return {"bits_per_dim" if is_discrete else "nll": numbers}


def classification(
    model: FlowModel,
    x: np.ndarray,
    y: np.ndarray | None,
    *,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns accuracy on test data, its binomial standard error, and cross-entropy in nats.

    Discrete data get dequantisation noise first, as in training: without it they would lie at
    the edges of their intervals.

    Raises:
        ValueError: if there are no classes ``y``.
    """
    if y is None:
        raise ValueError("A model that classifies is evaluated with classes; received y=None.")
    points = model.dequantized(x, seed)
    outputs = model.predict(points, batch_size=batch_size, verbose=0)
    logits = np.asarray(outputs["logits"] if isinstance(outputs, dict) else outputs, np.float64)
    log_p = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
    accuracy = float(np.mean(logits.argmax(1) == y))
    return {
        "accuracy": accuracy,
        "classification": {
            "standard_error": math.sqrt(accuracy * (1.0 - accuracy) / len(y)),
            "cross_entropy": float(-log_p[np.arange(len(y)), y].mean()),
            "examples": len(y),
        },
    }


def block_constants(flow: Invertible) -> list[tuple[int, float]]:
    """Returns ``(D_block, L)`` of every residual block, with ``L`` certified or ``inf``."""
    blocks = residual_blocks(flow)
    return [(math.prod(block.event_shape), block.lipschitz_bound_or_inf()) for block in blocks]


def truncation_bound(constants: Iterable[tuple[int, float]], estimator: LogDet) -> float:
    """``Σ_blocks −D_block (ln(1 − L) + Σ_{k≤n} Lᵏ/k)`` of `block_constants`, in nats a sample."""
    return math.fsum(size * estimator.truncation_bound(bound) for size, bound in constants)


def choose_estimator(model: FlowModel) -> LogDet:
    """Returns `Exact`, or the shortest `PowerSeries` whose bound is at most 0.005 bits/dim.

    If a block is not certified as a contraction, no number of terms is known to suffice: it
    warns and takes `UNCERTIFIED_TERMS`, whose truncation bound is then ``None``.

    Raises:
        ValueError: if the series would need more than a thousand terms.
    """
    if model.dimension <= EXACT_DIMENSION:
        return Exact()
    lipschitz = model.lipschitz_bounds()
    worst = max(lipschitz, key=lipschitz.__getitem__, default="")
    if worst and lipschitz[worst] >= 1.0:
        warnings.warn(
            f"Block {worst} is not certified as a contraction (bound {lipschitz[worst]:.4g}), so "
            f"no number of terms bounds the truncation; it is estimated with {UNCERTIFIED_TERMS}.",
            stacklevel=2,
        )
        return PowerSeries(UNCERTIFIED_TERMS)
    constants = block_constants(model.flow)
    for terms in range(1, _MAX_TERMS + 1):
        series = PowerSeries(terms)
        if bits_per_dim(truncation_bound(constants, series), model.dimension) <= TARGET_BOUND:
            return series
    raise ValueError(
        f"More than {_MAX_TERMS} terms would be needed for a truncation bound of {TARGET_BOUND} "
        f"bits/dim: the largest certified Lipschitz constant is {lipschitz[worst]:.6g}."
    )


@contextlib.contextmanager
def estimator_replaced(flow: Invertible, estimator: LogDet) -> Iterator[None]:
    """Lets every residual block of a flow use another estimator inside the ``with`` statement."""
    blocks = residual_blocks(flow)
    before = [block.log_det for block in blocks]
    try:
        for block in blocks:
            block.log_det = estimator
        yield
    finally:
        for block, original in zip(blocks, before):
            block.log_det = original


def negative_log_likelihoods(
    model: DensityModel,
    x: np.ndarray,
    *,
    estimator: LogDet | None = None,
    passes: int = 1,
    batch_size: int = 128,
    seed: int = 0,
) -> np.ndarray:
    """Returns ``−log p(x + u)`` of every example in every pass, ``[passes, n]``, nats, float64.

    Args:
        model, x, estimator, batch_size, seed: see `likelihood`.
        passes: number of passes, each with its own noise ``u`` and probes.
    """
    estimator = choose_estimator(model) if estimator is None else estimator
    with estimator_replaced(model.flow, estimator):

        @tf.function(autograph=False, reduce_retracing=True)
        def log_prob(batch, pass_seed):
            noisy = model.dequantized(batch, random.fold_in(pass_seed, 0))
            return model.log_prob(noisy, seed=random.fold_in(pass_seed, 1))

        rows = []
        for number in range(passes):
            pass_seed = random.fold_in(random.as_seed(seed), number)
            parts = [
                log_prob(
                    tf.constant(x[start : start + batch_size], model.compute_dtype),
                    random.fold_in(pass_seed, start),
                )
                for start in range(0, len(x), batch_size)
            ]
            rows.append(-np.concatenate([part.numpy() for part in parts]))
    return np.stack(rows).astype(np.float64)


def reconstruction(model: FlowModel, x: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """Returns ``max |F⁻¹(F(x)) − x|`` over a batch, in the units of the data (levels, for images).

    Returns:
        dict: ``max_abs_error``; ``iterations`` (evaluations of ``g`` in all blocks, worst
        sample); ``converged``; and ``error_bound`` (2-norm, worst sample, of the inverse at the
        computed latent point, carried through every layer).  ``None`` means not finite, or not
        certified.
    """
    x = model.dequantized(x, seed)
    result = model.flow.inverse(model.encode(x))
    return {
        "max_abs_error": finite_or_none(tf.reduce_max(tf.abs(result.x - x))),
        "iterations": int(tf.reduce_max(result.iterations)),
        "converged": bool(tf.reduce_all(result.converged)),
        "error_bound": finite_or_none(tf.reduce_max(result.error_bound)),
    }


def _standard_error(values, unit):
    """Returns the error of the mean of independent values; ``None`` for a single value."""
    if len(values) < 2:
        return None
    return float(values.std(ddof=1) / math.sqrt(len(values))) * unit
