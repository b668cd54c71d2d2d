"""The error of the inverse by iterations, with the constraint and without."""

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.clones import copied
from iresnet_tf.analysis.evaluation import dequantized
from iresnet_tf.layers import residual_blocks, spectral_layers
from iresnet_tf.numerics import fixed_point, probes

ITERATIONS = (1, 2, 3, 5, 8, 12, 20, 30, 50)
COEFFICIENTS = (0.5, 0.7, 0.9, 0.97)
UNCONSTRAINED = 2.0
"""Norm of each layer in the network that stands for one without the constraint."""

_TOLERANCE = 1e-12


def inverse_study(model, x, seed=0):
    """``‖F⁻¹(F(x)) − x‖₂`` by evaluations of g a block, for several coefficients.

    The trained flow with Picard and with Anderson steps; and copies of it whose every layer
    is scaled to a norm of exactly c, for c below 1 and for 2, where nothing guarantees an
    inverse.

    Args:
        model: a built model with a ``flow``.
        x: data ``[n, …event]``; levels where they are discrete.
        seed: of the noise.

    Returns:
        `matplotlib.figure.Figure`; dict with ``iterations`` and ``curves``, each with its
        ``name`` and the median ``error`` over the samples, in the units of the data.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), figure 1 and §3.2.
    """
    x = dequantized(model, tf.cast(x, model.compute_dtype), probes.as_seed(seed))
    flow = copied(model.flow)
    curves = [
        {"name": "trained, Picard", "error": _errors(flow, x, fixed_point.Picard)},
        {"name": "trained, Anderson", "error": _errors(flow, x, fixed_point.Anderson)},
    ]
    for norm in (*COEFFICIENTS, UNCONSTRAINED):
        for layer in spectral_layers(flow):
            # Far above the coefficient, so that the constraint scales it to just that.
            layer.kernel.assign(layer.kernel * (1e3 / layer.spectral_norm()))
            layer.coeff = norm
        name = f"c = {norm}" if norm < 1.0 else f"no constraint (norm {norm:g})"
        curves.append({"name": name, "error": _errors(flow, x, fixed_point.Picard)})
    return plots.convergence(ITERATIONS, curves), {"iterations": ITERATIONS, "curves": curves}


def _errors(flow, x, solver):
    y = flow(x)
    axes = tuple(range(1, x.shape.rank))
    errors = []
    for iterations in ITERATIONS:
        for block in residual_blocks(flow):
            block.solver = solver(_TOLERANCE, iterations)
        found = flow.preimage(flow.prepare_output(y)).numpy().astype(np.float64)
        distance = np.sqrt(np.sum(np.square(found - x.numpy()), axis=axes))
        errors.append(float(np.median(distance)))
    return errors
