"""Invertible residual networks for Keras 3, TensorFlow and TensorFlow Probability.

    y = x + g(x),   Lip(g) < 1

One network that classifies, estimates densities and generates.

Importing the package switches TensorFloat-32 off in the process, because its inverses and
certificates need products of ``float32`` precision.
"""

import importlib
from typing import Any

from iresnet_tf import analysis, bijectors, columns, data, layers, models, training
from iresnet_tf.numerics import log_det, solvers
from iresnet_tf.numerics.execution import tensor_float_32
from iresnet_tf.training import callbacks, load, presets
from iresnet_tf.version import __version__

tensor_float_32.switch_off()

_OPTIONAL = ("bayesflow", "sklearn")
"""The modules that need an extra of the package; each is imported when it is first used."""


def __getattr__(name: str) -> Any:
    if name in _OPTIONAL:
        return importlib.import_module(f"iresnet_tf.{name}")
    raise AttributeError(f"module 'iresnet_tf' has no attribute {name!r}")


__all__ = [
    "__version__",
    "analysis",
    "bijectors",
    "callbacks",
    "columns",
    "data",
    "layers",
    "load",
    "log_det",
    "models",
    "presets",
    "solvers",
    "training",
]
