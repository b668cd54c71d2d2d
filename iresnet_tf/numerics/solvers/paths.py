"""Inversion of points along paths, coarse to fine: most points start from their neighbours.

Along a path ``g(x_i)`` changes slowly, and it equals ``y_i − x_i`` if ``x_i`` is known.  So every
fourth point of a path and its last one are inverted first, and the others start at

    x_i = y_i − Σ_j w_ij (y_j − x_j).

The weights ``w_ij`` interpolate in ``i`` by a polynomial through the nearest points, at most four,
of those that were inverted first.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import SelectedRows

STRIDE = 4
"""Distance along a path between the points that are inverted first."""


def coarse_to_fine(
    solve: Callable[[tf.Tensor, tf.Tensor, SelectedRows], Any], y: tf.Tensor, steps: int
) -> Any:
    """Returns the results of ``solve`` for all points of paths, inverted coarse to fine.

    Args:
        solve: takes rows of ``y``, their first iterates and their indices; returns a nest of
            tensors ``[rows, …]``, of which the first are the solutions.
        y: ``[paths · steps, …event]``, one path after the other.
        steps: number of points on each path.
    """
    first, second, weights = _order(steps)
    starts = tf.range(0, tf.shape(y)[0], steps)[:, tf.newaxis]
    y = _along_paths(y, steps)

    def solve_at(points, targets, initial):
        rows = SelectedRows(_batch(starts + points))
        found = solve(_batch(targets), _batch(initial), rows)
        return tf.nest.map_structure(lambda tensor: _along_paths(tensor, points.size), found)

    targets = tf.gather(y, first, axis=1)
    found = solve_at(first, targets, targets)
    if second.size:
        g = tf.einsum("ij,pj...->pi...", tf.constant(weights, y.dtype), targets - found[0])
        targets = tf.gather(y, second, axis=1)
        rest = solve_at(second, targets, targets - g)
        place = np.argsort([*first, *second])
        found = tf.nest.map_structure(
            lambda *both: tf.gather(tf.concat(both, 1), place, axis=1), found, rest
        )
    return tf.nest.map_structure(_batch, found)


def _along_paths(rows, steps):
    return tf.reshape(rows, [-1, steps, *rows.shape[1:]])


def _batch(points):
    return tf.reshape(points, [-1, *points.shape[2:]])


def _order(steps):
    """Returns the points inverted first, the other points, and ``w [others, first]``."""
    first = np.unique([*range(0, steps, STRIDE), steps - 1])
    second = np.setdiff1d(np.arange(steps), first)
    weights = np.zeros([second.size, first.size])
    for row, point in zip(weights, second):
        nearest = np.argsort(np.abs(first - point), kind="stable")[:4]
        for index in nearest:
            others = first[nearest[nearest != index]]
            row[index] = np.prod((point - others) / (first[index] - others))
    return first, second, weights
