"""How far a map's computed value may lie from its exact one.

    ‖fl(g(x)) − g(x)‖₂ ≲ ε Σ_layers (4 ‖K‖_F √area ‖h_in‖₂ + 4 ‖h_out‖₂ + √D_out)

A first-order running bound: each layer adds its own rounding, and what follows
does not enlarge it because every layer of a contraction has a Lipschitz
constant of at most about one.  The last term is for what an activation computes
from numbers near one, as exp(x) − 1.  It is the margin beside a measured residual.

Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", §3.
"""

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.linearization import Affine, Composition


def rounding_error(function, x):
    """The bound above for ``function`` at ``x``, per sample.

    Args:
        function: a map of `iresnet_tf.numerics.linearization`, or any callable.
        x: ``[batch, …event]``.

    Returns:
        ``[batch]``, in the dtype of ``x``.
    """
    epsilon = np.finfo(x.dtype.as_numpy_dtype).eps
    total = tf.zeros(tf.shape(x)[:1], x.dtype)
    for layer in _flattened(function):
        value = layer(x)
        gain = _absolute_gain(layer.operator.kernel) if isinstance(layer, Affine) else 1.0
        total += 4.0 * epsilon * (gain * event_norm(x) + event_norm(value))
        total += epsilon * np.sqrt(value.shape[1:].num_elements())
        x = value
    return total


def _flattened(function):
    if not isinstance(function, Composition):
        return (function,)
    return tuple(layer for part in function.maps for layer in _flattened(part))


def event_norm(x):
    """``‖x‖₂`` of each sample: ``[batch, …event] → [batch]``."""
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=list(range(1, x.shape.rank))))


def _absolute_gain(kernel):
    """``‖ |A| |x| ‖₂ ≤ ‖K‖_F √area ‖x‖₂``: a pixel meets at most ``area`` patches."""
    area = kernel.shape[0] * kernel.shape[1] if kernel.shape.rank == 4 else 1
    return tf.norm(kernel) * np.sqrt(area)
