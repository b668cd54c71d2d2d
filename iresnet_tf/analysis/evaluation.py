"""What a trained model is worth, every number with its error."""

import contextlib
import math
import warnings

import numpy as np
import scipy.special
import tensorflow as tf

from iresnet_tf.layers import refresh, residual_blocks
from iresnet_tf.models import DensityModel, bits_per_dim
from iresnet_tf.numerics import log_det as estimators
from iresnet_tf.numerics import random

EXACT_DIMENSION = 256
"""Up to this dimension evaluation takes the exact log-determinant."""

TARGET_BOUND = 0.005
"""Bits a dimension that the truncation may cost at most in dimensions above that."""

_MAX_TERMS = 1000

UNCERTIFIED_TERMS = 50
"""Terms where nothing bounds the truncation, so that no number of them is safe."""


def evaluate(model, x, y=None, estimator=None, passes=None, batch_size=128, seed=0):
    """What the model says of test data, the reconstruction and the certificate.

    Args:
        model: a built model of `iresnet_tf.models`.
        x: test data ``[n, …event]``; levels where the data are discrete.
        y: classes ``[n]``, for a model that classifies.
        estimator, passes: see `likelihood`.
        batch_size: examples evaluated at once.
        seed: of noise and probes.

    Returns:
        dict with what `likelihood` and `classification` give, where the model has the one
        or the other, and ``reconstruction`` and ``lipschitz``.

    Raises:
        ValueError: if a model that classifies gets no classes.
    """
    refresh(model)
    lipschitz = model.lipschitz_bounds()
    result = {}
    if isinstance(model, DensityModel):
        result.update(likelihood(model, x, estimator, passes, batch_size, seed))
    if hasattr(model, "head"):
        result.update(classification(model, x, y, batch_size, seed))
    result["reconstruction"] = reconstruction(model, x[:batch_size], seed)
    result["lipschitz"] = {
        "certified_max": _finite(max(lipschitz.values(), default=0.0)),
        "per_block": {name: _finite(each) for name, each in lipschitz.items()},
    }
    return result


def likelihood(model, x, estimator=None, passes=None, batch_size=128, seed=0):
    """The likelihood of test data with its errors.

    Each of the ``passes`` draws its own dequantisation noise and probes.
    ``standard_error`` is what they leave uncertain in the mean, ``sampling_error``
    what the finite test set does, ``truncation_bound`` the most by which a cut
    series can be off: `truncation_bound`, with certified ``L``.

    Args:
        model: a built `DensityModel`.
        x: test data ``[n, …event]``; levels where the model dequantises.
        estimator: of the log-determinant; by default `Exact` up to 256 dimensions,
            else the shortest series whose bound is below 0.005 bits a dimension.
        passes: repetitions; 5 where anything is random, else 1.
        batch_size: examples evaluated at once.
        seed: of noise and probes.

    Returns:
        dict with ``bits_per_dim`` (discrete data) or ``nll`` (nats), each
        ``{mean, standard_error, sampling_error, truncation_bound, estimator, …}``.
    """
    estimator = choose_estimator(model) if estimator is None else estimator
    discrete = model.dequantize is not None
    random = discrete or not isinstance(estimator, estimators.Exact)
    passes = passes or (5 if random else 1)
    nats = negative_log_likelihoods(model, x, estimator, passes, batch_size, seed)
    unit = (1.0 / (model.dimension * math.log(2.0))) if discrete else 1.0
    bound = truncation_bound(block_constants(model.flow), estimator)
    figure = {
        "mean": float(nats.mean()) * unit,
        "standard_error": _scaled(_standard_error(nats.mean(axis=1)) if random else 0.0, unit),
        "sampling_error": _scaled(_standard_error(nats.mean(axis=0)), unit),
        "truncation_bound": _finite(bound * unit),
        "estimator": repr(estimator),
        "passes": passes,
        "examples": len(x),
    }
    return {"bits_per_dim" if discrete else "nll": figure}


def classification(model, x, y, batch_size=128, seed=0):
    """Accuracy on test data, with its binomial standard error, and the cross-entropy in nats.

    Levels get their noise first, where the model dequantises: as in training, and as no level
    itself, at the edge of its interval, would be.

    Raises:
        ValueError: if there are no classes ``y``.
    """
    if y is None:
        raise ValueError("A model that classifies is evaluated with the classes of its examples.")
    points = model.dequantized(x, seed)
    outputs = model.predict(points, batch_size=batch_size, verbose=0)
    logits = np.asarray(outputs["logits"] if isinstance(outputs, dict) else outputs, np.float64)
    log_p = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
    right = float(np.mean(logits.argmax(1) == y))
    return {
        "accuracy": right,
        "classification": {
            "standard_error": math.sqrt(right * (1.0 - right) / len(y)),
            "cross_entropy": float(-log_p[np.arange(len(y)), y].mean()),
            "examples": len(y),
        },
    }


def block_constants(flow):
    """``(D_block, L)`` of every residual block, ``L`` certified or ``inf``."""
    blocks = residual_blocks(flow)
    return [(math.prod(block.event_shape), block.lipschitz_bound_or_inf()) for block in blocks]


def truncation_bound(constants, estimator):
    """``Σ_blocks −D_block (ln(1 − L) + Σ_{k≤n} Lᵏ/k)``, nats a sample: see `block_constants`."""
    return math.fsum(size * estimator.truncation_bound(bound) for size, bound in constants)


def choose_estimator(model):
    """`Exact`, or the shortest `PowerSeries` that keeps the bound at 0.005 bits a dimension.

    Where a block is not certified a contraction, no number of terms is known to do: it warns
    and takes `UNCERTIFIED_TERMS`, whose truncation bound is then ``None``.

    Raises:
        ValueError: if the series would need more than a thousand terms.
    """
    if model.dimension <= EXACT_DIMENSION:
        return estimators.Exact()
    lipschitz = model.lipschitz_bounds()
    worst = max(lipschitz, key=lipschitz.get, default=None)
    if worst is not None and lipschitz[worst] >= 1.0:
        warnings.warn(
            f"Block {worst} is not certified a contraction (bound {lipschitz[worst]:.4g}), so no "
            f"number of terms bounds the truncation; it is estimated with {UNCERTIFIED_TERMS}.",
            stacklevel=2,
        )
        return estimators.PowerSeries(UNCERTIFIED_TERMS)
    constants = block_constants(model.flow)
    for terms in range(1, _MAX_TERMS + 1):
        series = estimators.PowerSeries(terms)
        if bits_per_dim(truncation_bound(constants, series), model.dimension) <= TARGET_BOUND:
            return series
    raise ValueError(
        f"More than {_MAX_TERMS} terms would be needed for a truncation bound of {TARGET_BOUND} "
        f"bits/dim: the largest certified Lipschitz constant is {lipschitz[worst]:.6g}."
    )


@contextlib.contextmanager
def estimator_replaced(flow, estimator):
    """Every residual block of the flow estimates with ``estimator`` inside the block."""
    blocks = residual_blocks(flow)
    before = [block.log_det for block in blocks]
    try:
        for block in blocks:
            block.log_det = estimator
        yield
    finally:
        for block, own in zip(blocks, before):
            block.log_det = own


def negative_log_likelihoods(model, x, estimator=None, passes=1, batch_size=128, seed=0):
    """``−log p(x + u)`` of every example in every pass, ``[passes, n]``, nats, float64.

    Args:
        model, x, estimator, batch_size, seed: see `likelihood`.
        passes: repetitions, each with its own noise ``u`` and probes.
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


def reconstruction(model, x, seed=0):
    """``max |F⁻¹(F(x)) − x|`` over a batch, in the units of the data: levels, for images.

    Returns:
        dict: ``max_abs_error``, ``iterations`` (evaluations of ``g``, all blocks,
        worst sample), ``converged``, and ``error_bound`` (2-norm, worst sample,
        of the inverse at the latent point as it was computed, carried through every
        layer).  ``None`` stands for what is not finite, or not certified.
    """
    x = model.dequantized(x, seed)
    result = model.flow.inverse(model.encode(x))
    bound = float(tf.reduce_max(result.error_bound))
    return {
        "max_abs_error": _finite(float(tf.reduce_max(tf.abs(result.x - x)))),
        "iterations": int(tf.reduce_max(result.iterations)),
        "converged": bool(tf.reduce_all(result.converged)),
        "error_bound": _finite(bound),
    }


def _standard_error(values):
    """Of the mean of independent values; ``None`` for a single one, which does not tell."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _scaled(error, unit):
    return None if error is None else error * unit


def _finite(bound):
    """JSON has no infinity: ``None`` where nothing is certified."""
    return bound if math.isfinite(bound) else None
