"""The error of the inverse by iterations, with the constraint and without."""

import math

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.block_inputs import block_inputs
from iresnet_tf.analysis.clones import copied
from iresnet_tf.layers import InverseOptions, residual_blocks, spectral_layers
from iresnet_tf.numerics import solvers

ITERATIONS = (1, 2, 3, 5, 8, 12, 20, 30, 50)
COEFFICIENTS = (0.5, 0.7, 0.9, 0.97)
UNCONSTRAINED = 2.0
"""Norm of each layer in the network that stands for one without the constraint."""

_TOLERANCE = 1e-12
_SOLVERS = {"Picard": solvers.Picard, "Anderson": solvers.Anderson}


def inverse_study(model, x, seed=0):
    """``‖F⁻¹(F(x)) − x‖₂`` by evaluations of g a block, for several coefficients.

    The trained flow with Picard and with Anderson steps; copies of it whose every layer is
    scaled to a norm of exactly c, for c below 1 and for 2, where nothing guarantees an
    inverse (one may exist all the same: the norms of a block's layers bound its slope, they
    do not give it); and of the trained flow the block of the largest certified constant L,
    with the bound ``(residual + rounding) / (1 − L)`` on its error.

    Args:
        model: a built model with a ``flow``.
        x: data ``[n, …event]``; levels where they are discrete.
        seed: of the noise.

    Returns:
        `matplotlib.figure.Figure`; dict with ``iterations``; ``curves``, each with its
        ``name`` and the median ``error`` over the samples, in the units of the data; and
        ``block``: its ``name``, ``lipschitz_bound`` and ``curves``, each with its ``name``
        and the largest ``error`` and ``error_bound`` over the samples, in the units of the
        block's input.  ``None`` stands for what is not finite; ``block`` is ``None`` for a
        flow without a certified one.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), figure 1 and §3.2.
    """
    x = model.dequantized(x, seed)
    flow = copied(model.flow)
    curves = [
        {"name": f"trained, {name}", "error": _errors(flow, x, solver)}
        for name, solver in _SOLVERS.items()
    ]
    block = _block_study(flow, x)
    for norm in (*COEFFICIENTS, UNCONSTRAINED):
        for layer in spectral_layers(flow):
            # Far above the coefficient, so that the constraint scales it to just that.
            layer.kernel.assign(layer.kernel * (1e3 / layer.spectral_norm()))
            layer.coeff = norm
        name = f"c = {norm}" if norm < 1.0 else f"no constraint (norm {norm:g})"
        curves.append({"name": name, "error": _errors(flow, x, solvers.Picard)})
    numbers = {"iterations": ITERATIONS, "curves": curves, "block": block}
    return plots.convergence(**numbers), numbers


def _errors(flow, x, solver):
    y = flow(x)
    errors = []
    for iterations in ITERATIONS:
        for block in residual_blocks(flow):
            block.solver = solver(_TOLERANCE, iterations)
        # Not `inverse`, which refuses a divergence that is to be shown.
        errors.append(_finite(np.median(_distances(flow._inverse_point(y, InverseOptions()), x))))
    return errors


def _block_study(flow, x):
    certified = [(each.lipschitz_bound_or_inf(), each, b) for each, b in block_inputs(flow, x)]
    certified = [each for each in certified if each[0] < 1.0]
    if not certified:
        return None
    lipschitz, block, x = max(certified, key=lambda each: each[0])
    y, curves = block(x), []
    for name, solver in _SOLVERS.items():
        errors, bounds = [], []
        for iterations in ITERATIONS:
            block.solver = solver(_TOLERANCE, iterations)
            found = block.inverse(y, lipschitz=lipschitz)
            errors.append(_finite(_distances(found.x, x).max()))
            bounds.append(_finite(tf.reduce_max(found.error_bound)))
        curves.append({"name": name, "error": errors, "error_bound": bounds})
    return {"name": block.name, "lipschitz_bound": lipschitz, "curves": curves}


def _distances(found, x):
    """``‖found − x‖₂`` of each sample, ``[n]``."""
    difference = found.numpy().astype(np.float64) - x.numpy()
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)


def _finite(value):
    return float(value) if math.isfinite(value) else None
