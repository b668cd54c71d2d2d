"""Estimated against exact log-determinants, by terms and probes."""

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.clones import copied
from iresnet_tf.analysis.evaluation import (
    EXACT_DIMENSION,
    block_constants,
    estimator_replaced,
    truncation_bound,
)
from iresnet_tf.numerics import log_det as estimators
from iresnet_tf.numerics import probes

TERMS = (1, 2, 3, 5, 10, 20)
PROBES = (1, 10)
CROP = 8


def log_det_study(model, x, draws=20, seed=0):
    """Bias and noise of the power series on data, with the truncation bound.

    A flow of at most 256 dimensions is studied as it is; a larger one of images on crops of
    8×8 from the middle, where the exact determinant is affordable: the same kernels on the
    smaller grid, normalised for it.

    Args:
        model: a built model with a ``flow`` that has a log-determinant.
        x: data ``[n, …event]``; levels where they are discrete.
        draws: repetitions with fresh probes.
        seed: of noise and probes.

    Returns:
        `matplotlib.figure.Figure`; dict with ``dimension``, ``unit`` (nats a dimension) and
        ``estimates``: for each number of terms and probes the ``bias`` and its
        ``standard_error``, the ``noise`` of one estimate, and the ``truncation_bound``.

    Raises:
        ValueError: for a flow without a log-determinant.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), figure on the bias of the estimator.
    """
    x, flow = tf.cast(x, model.compute_dtype), model.flow
    if np.prod(flow.event_shape) > EXACT_DIMENSION and len(flow.event_shape) == 3:
        top, left = ((size - CROP) // 2 for size in flow.event_shape[:2])
        x = x[:, top : top + CROP, left : left + CROP]
        flow = copied(flow, x.shape[1:])
    if model.dequantize is not None:
        x = flow.parts[0].add_noise(x, probes.as_seed(seed))
    dimension = int(np.prod(flow.event_shape))
    constants = block_constants(flow)
    with estimator_replaced(flow, estimators.Exact()):
        exact = flow.forward_and_log_det(x, 0)[1].numpy()
    rows = []
    for terms in TERMS:
        for number in PROBES:
            series = estimators.PowerSeries(terms, number)
            with estimator_replaced(flow, series):
                drawn = [flow.forward_and_log_det(x, [seed, k])[1].numpy() for k in range(draws)]
            error = (np.stack(drawn).astype(np.float64) - exact) / dimension
            rows.append(
                {
                    "terms": terms,
                    "probes": number,
                    "bias": float(error.mean()),
                    "standard_error": float(error.mean(1).std(ddof=1) / np.sqrt(draws)),
                    "noise": float(np.sqrt(error.var(0, ddof=1).mean())),
                    "truncation_bound": truncation_bound(constants, series) / dimension,
                }
            )
    numbers = {"dimension": dimension, "unit": "nats a dimension", "estimates": rows}
    return plots.estimates(rows), numbers
