"""True log-determinants and gradients, by differentiation of a contraction."""

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.log_det import Coloured, Exact, Krylov, PowerSeries, RussianRoulette

KINDS = ["dense", "conv"]
ACTIVATIONS = ["relu", "elu", "softplus", "sigmoid", "tanh", "lipswish", "clipswish", "maxmin"]
DRAWS = 20_000
ESTIMATORS = [Exact(), PowerSeries(4), Krylov(3), RussianRoulette(), Coloured(PowerSeries(4))]


def weights_of(g):
    return [variable.value for variable in g.trainable_variables]


def true_log_det(jacobian_of, g, x):
    jacobian = jacobian_of(g, x)
    return tf.linalg.slogdet(tf.eye(jacobian.shape[-1], dtype=x.dtype) + jacobian)[1]


def true_gradient(jacobian_of, g, x):
    """Returns the gradient of the sum over the batch, differentiated through the Jacobian."""
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(true_log_det(jacobian_of, g, x))
    return tape.gradient(total, weights_of(g), unconnected_gradients="zero")


def gradient(estimator, g, x, seed=0, lipschitz=None, sample=None):
    with tf.GradientTape() as tape:
        log_det = estimator(g.bind().linearize(x), seed, lipschitz)
        total = tf.reduce_sum(log_det) if sample is None else log_det[sample]
    return tape.gradient(total, weights_of(g), unconnected_gradients="zero")


def basis(kind):
    size = {"dense": 6, "conv": 24}[kind]
    return np.eye(size)


def by_power_series(jacobian, v, terms):
    """Returns ``Σ (−1)^{k+1}/k vᵀ Jᵏ v`` with the Jacobian as a matrix."""
    total, power = 0.0, v
    for k in range(1, terms + 1):
        power = jacobian @ power
        total += (-1) ** (k + 1) / k * v @ power
    return total


def same(one, other):
    return type(one) is type(other) and one.get_config() == other.get_config()
