"""Invertible residual networks for Keras 3, TensorFlow and TensorFlow Probability.

    y = x + g(x),   Lip(g) < 1

One network that classifies, estimates densities and generates.
"""

from iresnet_tf import bijectors, layers, models
from iresnet_tf.numerics import fixed_point as solvers
from iresnet_tf.numerics import log_det

__all__ = ["bijectors", "layers", "log_det", "models", "solvers"]
