"""Measures how the error of the inverse falls with the iterations, with and without constraint."""

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
"""Norm of each layer in the network that represents one without the constraint."""

_TOLERANCE = 1e-12
_SOLVERS = {"Picard": solvers.Picard, "Anderson": solvers.Anderson}


@dataclasses.dataclass(frozen=True)
class FlowCurve(Result):
    """The error of the inverse of a flow, for a network and a solver named by ``name``.

    Attributes:
        error: ``‖F⁻¹(F(x)) − x‖₂`` for each number of iterations, the median over the samples, in
            the units of the data; not finite if the inverse diverged.
    """

    name: str
    error: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class BlockCurve(Result):
    """The error of the inverse of a block and its bound, for the solver named by ``name``.

    Both tuples have one number for each number of iterations: the largest over the samples, in
    the units of the input of the block.

    Attributes:
        error: 2-norm of the error.
        error_bound: ``(residual + rounding) / (1 − L)``.
    """

    name: str
    error: tuple[float, ...]
    error_bound: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class BlockInverse(Result):
    """The error curves, one for each solver, of the block with the largest certified ``L``."""

    name: str
    lipschitz_bound: float
    curves: tuple[BlockCurve, ...]


@dataclasses.dataclass(frozen=True)
class InverseStudy(Result):
    """The error of the inverse by the number of iterations.

    Attributes:
        iterations: numbers of evaluations of ``g`` in each block.
        curves: the error of the whole flow, for each network and solver.
        block: the error of one block; ``None`` for a flow without a certified block.
    """

    iterations: tuple[int, ...]
    curves: tuple[FlowCurve, ...]
    block: BlockInverse | None


def study_inverse(
    model: FlowModel, x: np.ndarray, *, seed: int = 0, context: np.ndarray | None = None
) -> InverseStudy:
    """Measures ``‖F⁻¹(F(x)) − x‖₂`` by evaluations of ``g`` per block, for several coefficients.

    It studies

    - the trained flow, with Picard and with Anderson steps;
    - copies of it in which every layer is scaled to a norm of exactly c, with Picard steps: for
      several c below 1, and for c = 2, where no inverse is guaranteed (one may exist, because the
      product of the layers' norms is only an upper bound on the slope of a block);
    - the block of the trained flow with the largest certified constant L, with the bound
      ``(residual + rounding) / (1 − L)`` on its error.

    Args:
        model: a built model of `iresnet_tf.models`.
        x: data ``[n, …event]``; levels if they are discrete.
        seed: seed of the dequantisation noise.
        context: ``[n, …context_shape]``, for a model that takes one.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), figure 1 and §3.2.
    """
    x = model.dequantized(x, seed)
    flow = copied(model.flow)
    context = flow._condition(context, x)
    curves = [
        FlowCurve(f"trained, {name}", _median_errors(flow, x, context, solver))
        for name, solver in _SOLVERS.items()
    ]
    block = _study_block(flow, x, context)
    for norm in (*COEFFICIENTS, UNCONSTRAINED):
        for layer in spectral_layers(flow):
            # The kernel is far above the constraint, which scales it to a norm of exactly ``norm``.
            layer.kernel.assign(layer.kernel * (1e3 / layer.spectral_norm()))
            layer.coeff = norm
        name = f"c = {norm}" if norm < 1.0 else f"no constraint (norm {norm:g})"
        curves.append(FlowCurve(name, _median_errors(flow, x, context, solvers.Picard)))
    return InverseStudy(ITERATIONS, tuple(curves), block)


def _median_errors(flow, x, context, solver):
    y = flow(x, context=context)
    errors = []
    for iterations in ITERATIONS:
        for block in residual_blocks(flow):
            block.solver = solver(_TOLERANCE, iterations)
        # Unlike `inverse`, this does not raise for a divergence, which the study shows.
        restored = flow._inverse_point(y, InverseOptions(context=context))
        errors.append(float(np.median(_distances(restored, x))))
    return tuple(errors)


def _study_block(flow, x, context):
    bounds = [
        (block.lipschitz_bound_or_inf(), block, b) for block, b in block_inputs(flow, x, context)
    ]
    certified = [bound for bound in bounds if bound[0] < 1.0]
    if not certified:
        return None
    lipschitz, block, x = max(certified, key=lambda bound: bound[0])
    context = context if block.is_conditional else None
    y, curves = block(x, context=context), []
    for name, solver in _SOLVERS.items():
        errors, error_bounds = [], []
        for iterations in ITERATIONS:
            block.solver = solver(_TOLERANCE, iterations)
            inverse = block.inverse(y, lipschitz=lipschitz, context=context)
            errors.append(float(_distances(inverse.x, x).max()))
            error_bounds.append(float(tf.reduce_max(inverse.error_bound)))
        curves.append(BlockCurve(name, tuple(errors), tuple(error_bounds)))
    return BlockInverse(block.name, lipschitz, tuple(curves))


def _distances(restored, x):
    """Returns ``‖restored − x‖₂`` of each sample, ``[n]``."""
    difference = restored.numpy().astype(np.float64) - x.numpy()
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)
