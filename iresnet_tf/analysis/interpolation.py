"""Paths between data points in latent space."""

import dataclasses

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.study import NOT_SAVED, Study
from iresnet_tf.models import FlowModel
from iresnet_tf.numerics import random

_AT_ONCE = 128
"""Points decoded in one batch, unless a path alone has more."""


@dataclasses.dataclass(frozen=True)
class Interpolation(Study):
    """Paths between data points in latent space.

    Attributes:
        steps: number of points on a path, ends included.
        pairs: number of paths.
        spherical: whether the paths are arcs instead of straight lines.
        max_abs_error: largest deviation of the ends from the data, in their units.
        points: ``[pairs, steps, …event]``; levels for discrete data.
        levels: number of levels of images; ``None`` for points of the plane.
    """

    steps: int
    pairs: int
    spherical: bool
    max_abs_error: float
    points: np.ndarray = dataclasses.field(repr=False, metadata=NOT_SAVED)
    levels: int | None = dataclasses.field(metadata=NOT_SAVED)


def interpolate(
    model: FlowModel,
    first: np.ndarray,
    second: np.ndarray,
    *,
    steps: int = 9,
    spherical: bool = False,
    levels: int | None = None,
    seed: int = 0,
) -> Interpolation:
    """Computes ``F⁻¹(w(1 − t) F(a) + w(t) F(b))`` for ``t`` from 0 to 1.

    On straight lines ``w(t) = t``.  On arcs ``w(t) = sin(tΩ) / sin Ω`` with ``Ω`` the angle of
    the latents at the origin, so the path keeps the distance from it that normal latents have.

    Args:
        model: a built model.
        first, second: data ``[pairs, …event]``, images or points of the plane; levels for
            discrete data.
        steps: points on each path, ends included.
        spherical: whether the paths are arcs instead of straight lines.
        levels: number of levels of images; by default the model's own, or as many as the
            data show.
        seed: seed of the dequantisation noise.

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
    latent, chunk = tf.stack(path, 1), max(1, _AT_ONCE // steps)
    points = np.concatenate(
        [model.decode_paths(latent[i : i + chunk]) for i in range(0, len(first), chunk)]
    )
    error = max(np.abs(points[:, i] - x).max() for i, x in zip((0, -1), ends))
    if first.ndim != 4:
        levels = None
    elif levels is None and model.dequantize is not None:
        levels = model.dequantize.levels
    elif levels is None:
        levels = 1 + max(1, int(np.ceil(max(first.max(), second.max()))))
    points = np.asarray(model.to_levels(points))
    return Interpolation(steps, len(first), spherical, float(error), points, levels)


def _arc(start, end):
    """Returns ``t ↦ sin(tΩ) / sin Ω`` for each pair; ``t`` if the latents are parallel."""
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
