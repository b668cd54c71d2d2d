"""The error of the inverse by the number of iterations, with the constraint and without."""

import dataclasses

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.block_inputs import block_inputs
from iresnet_tf.analysis.copies import copied
from iresnet_tf.analysis.results import Result
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
class FlowCurve(Result):
    """The error of the inverse of a flow.

    Attributes:
        name: the network and the solver.
        error: ``‖F⁻¹(F(x)) − x‖₂`` for each number of iterations, the median over the samples, in
            the units of the data; not finite if the inverse diverged.
    """

    name: str
    error: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class BlockCurve(Result):
    """The error of the inverse of a block, with its bound.

    Attributes:
        name: name of the solver.
        error: largest 2-norm of the error over the samples, for each number of iterations, in the
            units of the input of the block.
        error_bound: largest bound ``(residual + rounding) / (1 − L)`` over the samples.
    """

    name: str
    error: tuple[float, ...]
    error_bound: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class BlockInverse(Result):
    """The inverse of the block with the largest certified Lipschitz constant.

    Attributes:
        name: name of the block.
        lipschitz_bound: the certified constant ``L``.
        curves: the error with each solver.
    """

    name: str
    lipschitz_bound: float
    curves: tuple[BlockCurve, ...]


@dataclasses.dataclass(frozen=True)
class InverseStudy(Result):
    """The error of the inverse by the number of iterations.

    Attributes:
        iterations: numbers of evaluations of ``g`` in each block.
        curves: the error of the whole flow, for several networks.
        block: the error of one block; ``None`` for a flow without a certified block.
    """

    iterations: tuple[int, ...]
    curves: tuple[FlowCurve, ...]
    block: BlockInverse | None


def study_inverse(model: FlowModel, x: np.ndarray, *, seed: int = 0) -> InverseStudy:
    """Measures ``‖F⁻¹(F(x)) − x‖₂`` by evaluations of ``g`` per block, for several coefficients.

    It studies

    - the trained flow, with Picard and with Anderson steps;
    - copies of it in which every layer is scaled to a norm of exactly c, with Picard steps: for c
      below 1, and for 2, where nothing guarantees an inverse.  An inverse may still exist,
      because the norms of the layers of a block only bound its slope;
    - the block of the trained flow with the largest certified constant L, with the bound
      ``(residual + rounding) / (1 − L)`` on its error.

    Args:
        model: a built model of `iresnet_tf.models`.
        x: data ``[n, …event]``; levels if they are discrete.
        seed: seed of the dequantisation noise.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), figure 1 and §3.2.
    """
    x = model.dequantized(x, seed)
    flow = copied(model.flow)
    curves = [
        FlowCurve(f"trained, {name}", _median_errors(flow, x, solver))
        for name, solver in _SOLVERS.items()
    ]
    block = _study_block(flow, x)
    for norm in (*COEFFICIENTS, UNCONSTRAINED):
        for layer in spectral_layers(flow):
            # The norm is far above the coefficient, so the constraint scales it to exactly that.
            layer.kernel.assign(layer.kernel * (1e3 / layer.spectral_norm()))
            layer.coeff = norm
        name = f"c = {norm}" if norm < 1.0 else f"no constraint (norm {norm:g})"
        curves.append(FlowCurve(name, _median_errors(flow, x, solvers.Picard)))
    return InverseStudy(ITERATIONS, tuple(curves), block)


def _median_errors(flow, x, solver):
    y = flow(x)
    errors = []
    for iterations in ITERATIONS:
        for block in residual_blocks(flow):
            block.solver = solver(_TOLERANCE, iterations)
        # `inverse` raises for a divergence, which is to be shown here.
        restored = flow._inverse_point(y, InverseOptions())
        errors.append(float(np.median(_distances(restored, x))))
    return tuple(errors)


def _study_block(flow, x):
    bounds = [(block.lipschitz_bound_or_inf(), block, b) for block, b in block_inputs(flow, x)]
    certified = [bound for bound in bounds if bound[0] < 1.0]
    if not certified:
        return None
    lipschitz, block, x = max(certified, key=lambda bound: bound[0])
    y, curves = block(x), []
    for name, solver in _SOLVERS.items():
        errors, error_bounds = [], []
        for iterations in ITERATIONS:
            block.solver = solver(_TOLERANCE, iterations)
            inverse = block.inverse(y, lipschitz=lipschitz)
            errors.append(float(_distances(inverse.x, x).max()))
            error_bounds.append(float(tf.reduce_max(inverse.error_bound)))
        curves.append(BlockCurve(name, tuple(errors), tuple(error_bounds)))
    return BlockInverse(block.name, lipschitz, tuple(curves))


def _distances(restored, x):
    """Returns ``‖restored − x‖₂`` of each sample, ``[n]``."""
    difference = restored.numpy().astype(np.float64) - x.numpy()
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)
