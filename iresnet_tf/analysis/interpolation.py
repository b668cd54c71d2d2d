"""Paths between data points in latent space."""

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis import plots
from iresnet_tf.numerics import random

_AT_ONCE = 128
"""Points decoded in one batch, unless a path alone has more."""


def interpolate(model, first, second, steps=9, seed=0, spherical=False, levels=None):
    """``F⁻¹(w(1 − t) F(a) + w(t) F(b))`` for ``t`` from 0 to 1.

    Straight, ``w(t) = t``; spherical, ``w(t) = sin(tΩ) / sin Ω`` with ``Ω`` the angle of the
    latents at the origin, so the path keeps the distance from it that normal latents have.

    Args:
        model: a built model with a ``flow``.
        first, second: data ``[pairs, …event]``, images or points of the plane; levels where
            they are discrete.
        steps: points on each path, its ends included.
        seed: of the noise.
        spherical: whether the paths are arcs instead of straight.
        levels: number of levels of images; by default the model's own, or as many as the
            data show.

    Returns:
        `matplotlib.figure.Figure`, a path a row; dict with ``steps``, ``pairs``,
        ``spherical`` and the ends' ``max_abs_error`` against the data, in their units.

    Raises:
        ValueError: for fewer than two steps, data of two shapes, or data that are neither
            images nor points of the plane.

    Source: Shoemake 1985 (doi:10.1145/325334.325242), for the arc.
    """
    first, second = np.asarray(first), np.asarray(second)
    if steps < 2 or first.shape != second.shape:
        raise ValueError(
            "A path has at least two steps, between data of one shape; received "
            f"{steps} steps, {first.shape} and {second.shape}."
        )
    if first.ndim != 4 and first.shape[1:] != (2,):
        raise ValueError(
            "Paths are drawn between images [pairs, height, width, channels] or points of the "
            f"plane [pairs, 2]; received data of shape {first.shape}."
        )
    ends = [
        model.dequantized(x, random.fold_in([seed, 0], k)) for k, x in enumerate((first, second))
    ]
    start, end = (model.encode(x) for x in ends)
    weight = _arc(start, end) if spherical else (lambda t: t)
    path = [weight(1.0 - t) * start + weight(t) * end for t in np.linspace(0.0, 1.0, steps)]
    latent, several = tf.stack(path, 1), max(1, _AT_ONCE // steps)
    points = np.concatenate(
        [model.decode_paths(latent[i : i + several]) for i in range(0, len(first), several)]
    )
    error = max(np.abs(points[:, i] - x).max() for i, x in zip((0, -1), ends))
    if points.ndim == 3:
        figure = plots.paths(points)
    else:
        flat = model.to_levels(points.reshape(-1, *points.shape[2:]))
        if model.dequantize is not None:
            levels = model.dequantize.levels if levels is None else levels
        elif levels is None:
            levels = 1 + max(1, int(np.ceil(max(first.max(), second.max()))))
        kind = "arcs" if spherical else "straight lines"
        title = f"data at both ends, between them {kind} in latent space"
        figure = plots.image_grid(flat, levels, steps, title)
    numbers = {"steps": steps, "pairs": len(first), "spherical": spherical}
    return figure, {**numbers, "max_abs_error": float(error)}


def _arc(start, end):
    """``t ↦ sin(tΩ) / sin Ω``, one for each pair; ``t`` where the latents are parallel."""
    axes = list(range(1, start.shape.rank))

    def inner(a, b):
        return tf.reduce_sum(tf.cast(a, tf.float64) * tf.cast(b, tf.float64), axes, keepdims=True)

    cosine = tf.math.divide_no_nan(
        inner(start, end), tf.sqrt(inner(start, start) * inner(end, end))
    )
    angle = tf.acos(tf.clip_by_value(cosine, -1.0, 1.0))

    def weight(t):
        ratio = tf.math.divide_no_nan(tf.sin(t * angle), tf.sin(angle))
        return tf.cast(tf.where(tf.sin(angle) > 1e-6, ratio, t), start.dtype)

    return weight
