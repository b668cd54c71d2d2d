"""Estimated against exact log-determinants, by terms and probes."""

import math

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.block_inputs import block_inputs
from iresnet_tf.analysis.clones import copied
from iresnet_tf.analysis.evaluation import EXACT_DIMENSION, block_constants, truncation_bound
from iresnet_tf.layers import InjectivePadding, residual_blocks
from iresnet_tf.layers.contractive import as_contractive
from iresnet_tf.numerics import log_det as estimators
from iresnet_tf.numerics import random
from iresnet_tf.numerics.log_det.exact import jacobian_of

TERMS = (1, 2, 3, 5, 10, 20)
PROBES = (1, 5, 20)
CROP = 8

_CHUNK = 32


def log_det_study(model, x, seed=0):
    """Bias and noise of the power series on data, with the truncation bound.

    For Rademacher probes both are known without drawing any.  With the truncated series
    ``M = Σ_{k≤n} (−1)^{k+1}/k Jᵏ`` of a block and its symmetric part ``S``,

        bias = tr M − log |det(I + J)|,   variance = 2 (‖S‖² − Σ Sᵢᵢ²) / probes,

    and blocks, whose probes are independent, add up.

    A flow of at most 256 dimensions is studied as it is; a larger one of images on crops of
    8×8 from the middle, where the Jacobian is affordable: the same kernels on the smaller
    grid, normalised for it.  Dense blocks at the end, which know one grid alone, are left out.

    Args:
        model: a built model with a ``flow`` that has a log-determinant.
        x: data ``[n, …event]``; levels where they are discrete.
        seed: of the dequantisation noise.

    Returns:
        `matplotlib.figure.Figure`; dict with ``dimension``, ``examples``, ``cropped``,
        ``blocks`` studied and ``blocks_left_out``, ``unit`` (nats a dimension), ``log_det``
        (exact, of the blocks studied, mean over the examples) and ``estimates``: for each
        number of terms and probes the ``bias`` (mean over the examples) and
        ``bias_bits_per_dim``, the largest bias of one example (``max_abs_bias``), the standard
        deviation ``noise`` of one estimate of one example, and the ``truncation_bound``,
        ``None`` where no block is certified a contraction.

    Raises:
        ValueError: for a flow without a log-determinant, or too large and not to be cropped.

    Sources: Behrmann et al. 2019 (arXiv:1811.00995), figure on the bias of the estimator;
    Avron and Toledo 2011 (doi:10.1145/1944345.1944349), lemma 1, for the variance.
    """
    flow = model.flow
    if _contains(flow, InjectivePadding):
        raise ValueError(
            f"{model.name} pads its data into more dimensions, so it has no log-determinant to "
            "study."
        )
    x = tf.cast(x, model.compute_dtype)
    cropped = math.prod(flow.event_shape) > EXACT_DIMENSION
    if cropped:
        x, flow = _on_crops(flow, x)
    if model.dequantize is not None:
        x = flow.parts[0].add_noise(x, random.as_seed(seed))
    dimension = math.prod(flow.event_shape)
    exact, traces, variances = _moments(flow, x)
    constants = block_constants(flow)
    blocks = len(constants)
    rows = []
    for terms, trace, variance in zip(TERMS, traces, variances):
        bias = (trace - exact) / dimension
        bound = truncation_bound(constants, estimators.PowerSeries(terms)) / dimension
        for number in PROBES:
            rows.append(
                {
                    "terms": terms,
                    "probes": number,
                    "bias": float(bias.mean()),
                    "bias_bits_per_dim": float(bias.mean()) / math.log(2.0),
                    "max_abs_bias": float(np.abs(bias).max()),
                    "noise": math.sqrt(variance.mean() / number) / dimension,
                    "truncation_bound": bound if math.isfinite(bound) else None,
                }
            )
    numbers = {
        "dimension": dimension,
        "examples": len(x),
        "cropped": cropped,
        "blocks": blocks,
        "blocks_left_out": len(residual_blocks(model.flow)) - blocks,
        "unit": "nats a dimension",
        "log_det": float(exact.mean()) / dimension,
        "estimates": rows,
    }
    return plots.estimates(rows), numbers


def _on_crops(flow, x):
    shape = flow.event_shape
    if len(shape) != 3 or min(shape[:2]) < CROP:
        raise ValueError(
            f"The study takes whole Jacobians: of up to {EXACT_DIMENSION} dimensions, or of "
            f"{CROP}×{CROP} crops of images. This flow maps samples of shape {tuple(shape)} and "
            "cannot be moved to crops, because only convolutions can."
        )
    top, left = ((size - CROP) // 2 for size in shape[:2])
    x = x[:, top : top + CROP, left : left + CROP]
    return x, copied(flow, x.shape[1:])


def _contains(layer, kind):
    return isinstance(layer, kind) or any(_contains(part, kind) for part in layer.parts)


def _moments(flow, x):
    """Exact log-determinants ``[n]``, and for each of `TERMS` mean and variance of one probe.

    Sums over the blocks, float64.
    """
    exact = np.zeros(len(x))
    traces, variances = np.zeros((2, len(TERMS), len(x)))
    for start in range(0, len(x), _CHUNK):
        here = slice(start, start + _CHUNK)
        for block, inputs in block_inputs(flow, x[here]):
            jacobian = (
                jacobian_of(as_contractive(block.g).bind().linearize(inputs))
                .numpy()
                .astype(np.float64)
            )
            exact[here] += np.linalg.slogdet(np.eye(jacobian.shape[-1]) + jacobian)[1]
            series, power = np.zeros_like(jacobian), -np.eye(jacobian.shape[-1])
            for k in range(1, max(TERMS) + 1):
                power = -power @ jacobian
                series = series + power / k
                if k in TERMS:
                    index = TERMS.index(k)
                    traces[index, here] += np.trace(series, axis1=1, axis2=2)
                    variances[index, here] += _variance(series)
    return exact, traces, variances


def _variance(matrices):
    """Of ``vᵀ M v`` for one Rademacher probe ``v``, ``[batch]``."""
    symmetric = 0.5 * (matrices + matrices.swapaxes(1, 2))
    squares = np.square(symmetric)
    return 2.0 * (squares.sum((1, 2)) - np.trace(squares, axis1=1, axis2=2))
