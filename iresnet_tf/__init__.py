"""Invertible residual networks for Keras 3, TensorFlow and TensorFlow Probability.

    y = x + g(x),   Lip(g) < 1

One network that classifies, estimates densities and generates.
"""

from iresnet_tf import bijectors, layers, models
from iresnet_tf.numerics import log_det, solvers
from iresnet_tf.training import callbacks, presets
from iresnet_tf.training.pretrained import load
from iresnet_tf.version import __version__

__all__ = [
    "__version__",
    "bijectors",
    "callbacks",
    "layers",
    "load",
    "log_det",
    "models",
    "presets",
    "solvers",
]
