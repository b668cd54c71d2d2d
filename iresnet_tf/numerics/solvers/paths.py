"""Points along a path, inverted coarse to fine: each starts from its neighbours.

From one point of a path to the next ``g(x_i)`` changes little, and where the inverse is known,
it is known too, as ``y_i − x_i``.  So every fourth point and the last are inverted first, and the
others start at

    x_i = y_i − Σ_j w_ij (y_j − x_j),

``w_ij`` being those of the polynomial in ``i`` through the nearest of the first, four at most.
"""

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.maps.leading_axes import rows_or_one

STRIDE = 4
"""Points from one of the first to the next."""


class Rows:
    """Some rows of a batch: see `iresnet_tf.numerics.execution.threads.Whole`."""

    def __init__(self, index):
        self.index = index

    def of_rows(self, rows):
        return rows_or_one(rows, self.index)


def coarse_to_fine(solve, y, steps):
    """What ``solve`` gives at ``y``, some points of every path from the others.

    Args:
        solve: function of rows of ``y``, the first iterates there, and which `Rows` they are;
            gives a nest of tensors ``[rows, …]``, the solutions first.
        y: ``[paths · steps, …event]``, one path after the other.
        steps: points of a path.
    """
    first, second, weights = _order(steps)
    starts = tf.range(0, tf.shape(y)[0], steps)[:, tf.newaxis]
    y = _along_paths(y, steps)

    def solve_at(points, targets, initial):
        found = solve(_batch(targets), _batch(initial), Rows(_batch(starts + points)))
        return tf.nest.map_structure(lambda each: _along_paths(each, points.size), found)

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
    """The numbers of the points inverted first and of the others, and ``w [others, first]``."""
    first = np.unique([*range(0, steps, STRIDE), steps - 1])
    second = np.setdiff1d(np.arange(steps), first)
    weights = np.zeros([second.size, first.size])
    for row, point in zip(weights, second):
        nearest = np.argsort(np.abs(first - point), kind="stable")[:4]
        for each in nearest:
            others = first[nearest[nearest != each]]
            row[each] = np.prod((point - others) / (first[each] - others))
    return first, second, weights
