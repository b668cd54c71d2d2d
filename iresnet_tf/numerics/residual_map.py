"""``F(x) = x + g(x)``: its value with log-determinant, and its inverse.

Each is traced once for every kind and shape of ``g`` and called with the tensors
of the block at hand: sixteen equal blocks cost one trace, and eager calls run
compiled.
"""

import functools

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.fixed_point import implicit_gradient
from iresnet_tf.numerics.rounding import event_norm, rounding_error


def transform(g, x, estimator, seed, lipschitz=None):
    """``(x + g(x), log |det(I + J_g(x))|)`` from one evaluation of ``g``.

    Args:
        g: map of `iresnet_tf.numerics.linearization`.
        x: ``[batch, …event]``.
        estimator: of `iresnet_tf.numerics.log_det`.
        seed: stateless seed ``[2]``.
        lipschitz: the constant that ``g`` is held to, or ``None``.

    Returns:
        ``[batch, …event]`` and ``[batch]``, nats.
    """
    return _compiled(_transform, _signature(g, x), estimator, lipschitz)(g, x, seed)


def _transform(estimator, lipschitz, g, x, seed):
    linearization = g.linearize(x)
    return x + linearization.value, estimator(linearization, seed, lipschitz)


def invert(g, y, solver):
    """``x`` with ``x + g(x) = y``, differentiable.

    Returns:
        ``x``, the solver's `FixedPoint` report, and a bound on the rounding of
        its residual, ``[batch]``.
    """
    return _compiled(_invert, _signature(g, y), solver)(g, y)


def _invert(solver, g, y):
    found = solver(g, y)
    # The sum x + g(x) − y rounds as well.
    epsilon = np.finfo(y.dtype.as_numpy_dtype).eps
    margin = rounding_error(g, found.x) + 4.0 * epsilon * (event_norm(y) + event_norm(found.x))
    return implicit_gradient(g, y, found.x, solver), found, tf.stop_gradient(margin)


@functools.lru_cache(maxsize=256)
def _compiled(function, signature, *options):
    """A `tf.function` of its own for every signature, so that none is retraced often."""
    del signature
    return tf.function(functools.partial(function, *options), autograph=False)


def _signature(g, x):
    leaves = tf.nest.flatten(g)
    shapes = tuple(tuple(leaf.shape) if tf.is_tensor(leaf) else leaf for leaf in leaves)
    return type(g), shapes, tuple(x.shape[1:]), x.dtype
