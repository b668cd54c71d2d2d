"""Computes the error of estimated log-determinants by the number of terms and of probes."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.block_inputs import block_inputs
from iresnet_tf.analysis.copies import copied
from iresnet_tf.analysis.likelihood import EXACT_DIMENSION, block_constants, truncation_bound
from iresnet_tf.analysis.results import Result
from iresnet_tf.layers import residual_blocks
from iresnet_tf.layers.contractive import as_contractive
from iresnet_tf.models import FlowModel
from iresnet_tf.numerics import log_det, random
from iresnet_tf.numerics.log_det.exact import jacobian_of

TERMS = (1, 2, 3, 5, 10, 20)
PROBES = (1, 5, 20)
CROP = 8

_CHUNK = 32


@dataclasses.dataclass(frozen=True)
class SeriesError(Result):
    """The error of a power series for a number of terms and of probes, nats per dimension.

    Attributes:
        bias: mean bias over the examples.
        bias_bits_per_dim: the mean bias in bits/dim.
        max_abs_bias: largest absolute bias of an example.
        noise: standard deviation of one estimate for one example.
        truncation_bound: bound on the absolute bias; infinite if a block is not certified.
    """

    terms: int
    probes: int
    bias: float
    bias_bits_per_dim: float
    max_abs_bias: float
    noise: float
    truncation_bound: float


@dataclasses.dataclass(frozen=True)
class LogDetStudy(Result):
    """The bias and noise of the power series on data.

    Attributes:
        dimension: number of elements of a sample of the flow that was studied.
        cropped: whether the flow was studied on crops of the images.
        blocks: number of blocks studied.
        blocks_left_out: number of blocks that were not studied.
        unit: the unit of the errors.
        log_det: exact log-determinant of the blocks studied, mean over the examples.
        estimates: the error for each number of terms and of probes.
    """

    dimension: int
    examples: int
    cropped: bool
    blocks: int
    blocks_left_out: int
    unit: str
    log_det: float
    estimates: tuple[SeriesError, ...]


def study_log_det(
    model: FlowModel, x: np.ndarray, *, seed: int = 0, context: np.ndarray | None = None
) -> LogDetStudy:
    """Computes bias and noise of the power series on data, and the truncation bound.

    For Rademacher probes, both have closed forms.  With the truncated series
    ``M = Σ_{k≤n} (−1)^{k+1}/k Jᵏ`` of a block and its symmetric part ``S``,

        bias = tr M − log |det(I + J)|,   variance = 2 (‖S‖² − Σ Sᵢᵢ²) / probes,

    and the values of the blocks add up, because their probes are independent.

    A flow of more than 256 dimensions is studied on crops of 8×8 pixels from the middle of the
    images, where the Jacobian is affordable: a copy has the same kernels, normalised for the
    smaller grid, and lacks the dense blocks at the end, which work on one grid only.

    Args:
        model: a built model whose flow has a log-determinant.
        x: data ``[n, …event]``; levels if they are discrete.
        seed: seed of the dequantisation noise.
        context: ``[n, …context_shape]``, for a model that takes one.

    Raises:
        ValueError: for a flow without a log-determinant, or a large flow that is not of images.

    Sources: Behrmann et al. 2019 (arXiv:1811.00995), figure on the bias of the estimator;
    Avron and Toledo 2011 (doi:10.1145/1944345.1944349), lemma 1, for the variance.
    """
    flow = model.flow
    if math.prod(flow.latent_shape) != math.prod(flow.event_shape):
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
    exact, traces, variances = _moments(flow, x, context)
    constants = block_constants(flow)
    errors = []
    for terms, trace, variance in zip(TERMS, traces, variances):
        bias = (trace - exact) / dimension
        bound = truncation_bound(constants, log_det.PowerSeries(terms)) / dimension
        for probes in PROBES:
            errors.append(
                SeriesError(
                    terms=terms,
                    probes=probes,
                    bias=float(bias.mean()),
                    bias_bits_per_dim=float(bias.mean()) / math.log(2.0),
                    max_abs_bias=float(np.abs(bias).max()),
                    noise=math.sqrt(variance.mean() / probes) / dimension,
                    truncation_bound=bound,
                )
            )
    return LogDetStudy(
        dimension=dimension,
        examples=len(x),
        cropped=cropped,
        blocks=len(constants),
        blocks_left_out=len(residual_blocks(model.flow)) - len(constants),
        unit="nats a dimension",
        log_det=float(exact.mean()) / dimension,
        estimates=tuple(errors),
    )


def _on_crops(flow, x):
    shape = flow.event_shape
    if len(shape) != 3 or min(shape[:2]) < CROP:
        raise ValueError(
            f"The study computes whole Jacobians: of flows of up to {EXACT_DIMENSION} dimensions, "
            f"or on {CROP}×{CROP} crops of images. This flow maps samples of shape {tuple(shape)} "
            "and cannot be moved to crops, because only convolutions can."
        )
    top, left = ((size - CROP) // 2 for size in shape[:2])
    x = x[:, top : top + CROP, left : left + CROP]
    return x, copied(flow, x.shape[1:])


def _moments(flow, x, context):
    """Returns the exact log-determinants ``[n]``, and mean and variance of a one-probe estimate.

    Mean and variance are ``[terms, n]``, for each of `TERMS`.  All are sums over the blocks.
    """
    exact = np.zeros(len(x))
    traces, variances = np.zeros((2, len(TERMS), len(x)))
    for start in range(0, len(x), _CHUNK):
        here = slice(start, start + _CHUNK)
        given = None if context is None else tf.cast(context[here], x.dtype)
        for block, inputs in block_inputs(flow, x[here], given):
            own = given if block.is_conditional else None
            linearization = as_contractive(block.g).bind(own).linearize(inputs)
            jacobian = jacobian_of(linearization).numpy().astype(np.float64)
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
    """Returns the variance of ``vᵀ M v`` for one Rademacher probe ``v``, ``[batch]``."""
    symmetric = 0.5 * (matrices + matrices.swapaxes(1, 2))
    squares = np.square(symmetric)
    return 2.0 * (squares.sum((1, 2)) - np.trace(squares, axis1=1, axis2=2))
