"""How far a map's computed value may lie from its exact one.

    ‖fl(g(x)) − g(x)‖₂ ≲ ε Σ_layers ((n/2 + 4) ‖K‖_F √area ‖h_in‖₂ + 4 ‖h_out‖₂ + √D_out)

with ``n`` the length of a layer's inner products (4 for an activation, with gain 1).

A first-order running bound: each layer adds its own rounding, and what follows
does not enlarge it because every layer of a contraction has a Lipschitz
constant of at most about one.  The last term is for what an activation computes
from numbers near one, as exp(x) − 1.  It is the margin beside a measured residual.

Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", §3.
"""

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.maps.concatenation import Concatenation
from iresnet_tf.numerics.maps.linearization import Affine, Composition


def rounding_error(function, x):
    """The bound above for ``function`` at ``x``, per sample.

    Args:
        function: a map of `iresnet_tf.numerics.maps.linearization`, or any callable.
        x: ``[batch, …event]``.

    Returns:
        ``[batch]``, in the dtype of ``x``.
    """
    epsilon = np.finfo(x.dtype.as_numpy_dtype).eps
    total = tf.zeros(tf.shape(x)[:1], x.dtype)
    for layer in _flattened(function):
        value = layer(x)
        if isinstance(layer, Concatenation):
            # Its weights are at most one; what f rounds is joined to a product.
            total += rounding_error(layer.function, x)
        gain = _affine_gain(layer.operator.kernel) if isinstance(layer, Affine) else 4.0
        total += epsilon * (gain * event_norm(x) + 4.0 * event_norm(value))
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


def _affine_gain(kernel):
    """``(n/2 + 4) ‖ |A| |x| ‖₂ / ‖x‖₂``: a pixel meets at most ``area`` patches."""
    area = kernel.shape[0] * kernel.shape[1] if kernel.shape.rank == 4 else 1
    length = kernel.shape[:-1].num_elements()
    return (0.5 * length + 4.0) * tf.norm(kernel) * np.sqrt(area)
