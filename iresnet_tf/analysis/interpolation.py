"""Connects data points by paths in latent space."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.results import NOT_IN_JSON, Result
from iresnet_tf.models import FlowModel
from iresnet_tf.numerics import random
from iresnet_tf.numerics.axes import event_axes

_BATCH = 128
"""Number of points that are decoded at once, unless a single path has more."""


@dataclasses.dataclass(frozen=True, eq=False)
class Interpolation(Result):
    """The paths that `interpolate` computes; ``steps`` and ``spherical`` are its arguments.

    Attributes:
        max_abs_error: largest difference between an end of a path and its data point, in the
            units of the data.
        points: the paths in data space, ``[pairs, steps, …event]``; levels for discrete data.
        levels: number of levels of images, ``None`` for points of the plane.
    """

    steps: int
    pairs: int
    spherical: bool
    max_abs_error: float
    points: np.ndarray = dataclasses.field(metadata=NOT_IN_JSON)
    levels: int | None = dataclasses.field(metadata=NOT_IN_JSON)


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
    """``F⁻¹(w(1 − t) F(a) + w(t) F(b))`` for ``t`` from 0 to 1.

    Straight paths have ``w(t) = t``.  Spherical paths have ``w(t) = sin(tΩ) / sin Ω``, where ``Ω``
    is the angle between the latents at the origin; their points keep about the distance from the
    origin that samples of a normal prior have.

    Args:
        model: a built model of `iresnet_tf.models`.
        first: data ``[pairs, …event]``, images or points of the plane; levels if discrete.
        second: data of equal shape, the other ends.
        steps: number of points on each path, including both ends.
        spherical: whether the paths are arcs instead of straight lines.
        levels: number of levels of images; by default that of the model, or of the data.
        seed: seed of the dequantisation noise.

    Raises:
        ValueError: for fewer than two steps, data of different shapes, or data that are neither
            images nor points of the plane.

    Source: Shoemake 1985 (doi:10.1145/325334.325242), for the arc.
    """
    first, second = np.asarray(first), np.asarray(second)
    if steps < 2 or first.shape != second.shape:
        raise ValueError(
            "A path has at least two steps, between data of one shape; received "
            f"{steps} steps, {first.shape} and {second.shape}."
        )
    is_image = first.ndim == 4
    if not is_image and first.shape[1:] != (2,):
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
    latent, paths = tf.stack(path, 1), max(1, _BATCH // steps)
    points = np.concatenate(
        [model.decode_paths(latent[i : i + paths]) for i in range(0, len(first), paths)]
    )
    error = max(np.abs(points[:, i] - x).max() for i, x in zip((0, -1), ends))
    if is_image and levels is None:
        brightest = int(np.ceil(max(first.max(), second.max())))
        levels = 1 + max(1, brightest) if model.dequantize is None else model.dequantize.levels
    return Interpolation(
        steps=steps,
        pairs=len(first),
        spherical=spherical,
        max_abs_error=float(error),
        points=np.asarray(model.to_levels(points)),
        levels=levels if is_image else None,
    )


def _arc(start: tf.Tensor, end: tf.Tensor) -> Callable[[float], tf.Tensor]:
    """Returns ``t ↦ sin(tΩ) / sin Ω`` for each pair of latents, ``t ↦ t`` for parallel ones."""

    def inner(a, b):
        product = tf.cast(a, tf.float64) * tf.cast(b, tf.float64)
        return tf.reduce_sum(product, event_axes(product), keepdims=True)

    cosine = tf.math.divide_no_nan(
        inner(start, end), tf.sqrt(inner(start, start) * inner(end, end))
    )
    angle = tf.acos(tf.clip_by_value(cosine, -1.0, 1.0))

    def weight(t):
        ratio = tf.math.divide_no_nan(tf.sin(t * angle), tf.sin(angle))
        return tf.cast(tf.where(tf.sin(angle) > 1e-6, ratio, t), start.dtype)

    return weight
