"""Paths between data points in latent space."""

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.evaluation import dequantized
from iresnet_tf.numerics import probes


def interpolate(model, first, second, steps=9, seed=0):
    """``F⁻¹((1 − t) F(a) + t F(b))`` for ``t`` from 0 to 1.

    Args:
        model: a built model with a ``flow``.
        first, second: data ``[pairs, …event]``; levels where they are discrete.
        steps: points on each path, its ends included.
        seed: of the noise.

    Returns:
        `matplotlib.figure.Figure`, a path a row; dict with ``steps`` and the ends'
        ``max_abs_error`` against the data, in their units.

    Raises:
        ValueError: for fewer than two steps, or data of two shapes.
    """
    first, second = np.asarray(first), np.asarray(second)
    if steps < 2 or first.shape != second.shape:
        raise ValueError(
            "A path has at least two steps, between data of one shape; received "
            f"{steps} steps, {first.shape} and {second.shape}."
        )
    ends = [
        dequantized(model, tf.cast(x, model.compute_dtype), probes.fold_in([seed, 0], k))
        for k, x in enumerate((first, second))
    ]
    start, end = (model.encode(x) for x in ends)
    path = [model.decode(start + t * (end - start)) for t in np.linspace(0.0, 1.0, steps)]
    error = max(float(tf.reduce_max(tf.abs(a - b))) for a, b in zip(ends, (path[0], path[-1])))
    points = np.stack([np.asarray(each) for each in path], 1)
    if points.ndim == 3:
        figure = plots.paths(points)
    else:
        flat = points.reshape(-1, *points.shape[2:])
        levels = 256
        if model.dequantize is not None:
            flat, levels = model.dequantize.to_levels(flat), model.dequantize.levels
        figure = plots.image_grid(flat, levels, columns=steps)
    return figure, {"steps": steps, "pairs": len(first), "max_abs_error": error}
