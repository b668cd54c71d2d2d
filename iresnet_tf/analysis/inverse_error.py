"""The error of the inverse by iterations, with the Lipschitz constraint and without."""

import dataclasses

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.block_inputs import block_inputs
from iresnet_tf.analysis.clones import copied
from iresnet_tf.analysis.study import NOT_SAVED, Study
from iresnet_tf.layers import InverseOptions, residual_blocks, spectral_layers
from iresnet_tf.models import FlowModel
from iresnet_tf.numerics import solvers

ITERATIONS = (1, 2, 3, 5, 8, 12, 20, 30, 50)
COEFFICIENTS = (0.5, 0.7, 0.9, 0.97)
UNCONSTRAINED = 2.0
"""Norm of each layer in the network that stands for one without the constraint."""

_TOLERANCE = 1e-12
_SOLVERS = {"Picard": solvers.Picard, "Anderson": solvers.Anderson}


@dataclasses.dataclass(frozen=True)
class FlowError:
    """The error of a flow's inverse.

    Attributes:
        name: a description of the flow.
        error: median over the samples of ``‖F⁻¹(F(x)) − x‖₂`` by iterations, in the units of the
            data; not finite where the iteration overflows.
        solver: name of the solver.
        norm: norm of every layer of a scaled copy; ``None`` for the trained flow.
    """

    name: str
    error: list[float]
    solver: str = dataclasses.field(metadata=NOT_SAVED)
    norm: float | None = dataclasses.field(default=None, metadata=NOT_SAVED)


@dataclasses.dataclass(frozen=True)
class BlockError:
    """The error of a block's inverse with one solver, in the units of the block's input.

    Attributes:
        name: name of the solver.
        error: largest error of a sample by iterations.
        error_bound: largest bound on it, ``(residual + rounding) / (1 − L)``.
    """

    name: str
    error: list[float]
    error_bound: list[float]


@dataclasses.dataclass(frozen=True)
class BlockStudy:
    """The inverse of one block: its name, its certified constant ``L``, a curve a solver."""

    name: str
    lipschitz_bound: float
    curves: list[BlockError]


@dataclasses.dataclass(frozen=True)
class InverseStudy(Study):
    """Errors of the inverse.

    Attributes:
        iterations: numbers of evaluations of g in each block.
        curves: the trained flow with each solver, then its scaled copies.
        block: the trained block of the largest certified ``L``; ``None`` if none is certified.
    """

    iterations: tuple[int, ...]
    curves: list[FlowError]
    block: BlockStudy | None


def inverse_study(model: FlowModel, x: np.ndarray, *, seed: int = 0) -> InverseStudy:
    """Computes ``‖F⁻¹(F(x)) − x‖₂`` by evaluations of g in a block, for several coefficients.

    It studies the trained flow with Picard and with Anderson steps, and copies of it whose every
    layer is scaled to a norm of exactly c, for c below 1 and for 2.  With 2 nothing guarantees an
    inverse, but one may exist: the norms of a block's layers bound its slope from above only.

    Args:
        model: a built model.
        x: data ``[n, …event]``; levels for discrete data.
        seed: seed of the dequantisation noise.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), figure 1 and §3.2.
    """
    x = model.dequantized(x, seed)
    flow = copied(model.flow)
    curves = [
        FlowError(f"trained, {name}", _errors(flow, x, solver), name)
        for name, solver in _SOLVERS.items()
    ]
    block = _block_study(flow, x)
    for norm in (*COEFFICIENTS, UNCONSTRAINED):
        for layer in spectral_layers(flow):
            # Far above the coefficient, so that the constraint scales it to exactly that.
            layer.kernel.assign(layer.kernel * (1e3 / layer.spectral_norm()))
            layer.coeff = norm
        name = f"c = {norm}" if norm < 1.0 else f"no constraint (norm {norm:g})"
        curves.append(FlowError(name, _errors(flow, x, solvers.Picard), "Picard", norm))
    return InverseStudy(ITERATIONS, curves, block)


def _errors(flow, x, solver):
    y = flow(x)
    errors = []
    for iterations in ITERATIONS:
        for block in residual_blocks(flow):
            block.solver = solver(_TOLERANCE, iterations)
        # `inverse` would raise where the iteration diverges, which is to be shown.
        inverted = flow._inverse_point(y, InverseOptions())
        errors.append(float(np.median(_distances(inverted, x))))
    return errors


def _block_study(flow, x):
    bounds = [
        (block.lipschitz_bound_or_inf(), block, batch) for block, batch in block_inputs(flow, x)
    ]
    certified = [entry for entry in bounds if entry[0] < 1.0]
    if not certified:
        return None
    lipschitz, block, x = max(certified, key=lambda entry: entry[0])
    y, curves = block(x), []
    for name, solver in _SOLVERS.items():
        curve = BlockError(name, [], [])
        for iterations in ITERATIONS:
            block.solver = solver(_TOLERANCE, iterations)
            result = block.inverse(y, lipschitz=lipschitz)
            curve.error.append(float(_distances(result.x, x).max()))
            curve.error_bound.append(float(tf.reduce_max(result.error_bound)))
        curves.append(curve)
    return BlockStudy(block.name, lipschitz, curves)


def _distances(inverted, x):
    """Returns ``‖inverted − x‖₂`` of each sample, ``[n]``."""
    difference = inverted.numpy().astype(np.float64) - x.numpy()
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)
