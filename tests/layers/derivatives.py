"""First derivatives, and second ones by finite differences of them."""

import numpy as np
import tensorflow as tf


def score(function, x):
    """Returns ``∇_x Σ f(x)``."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(function(x))
    return tape.gradient(total, x)


def by_differences(function, x, step=1e-5):
    """Returns the Hessians ``[batch, D, D]`` by central differences of the score."""
    columns = []
    for unit in step * np.eye(x[0].shape.num_elements()):
        move = unit.reshape(x.shape[1:])
        change = score(function, x + move) - score(function, x - move)
        columns.append(change.numpy().reshape(len(x), -1) / (2.0 * step))
    return np.stack(columns, -1)
