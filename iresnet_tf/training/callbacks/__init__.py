"""Provides Keras callbacks that check, draw and record a model while it trains.

`Certificate`, `Spectra`, `EMA`, `TerminateOnNaN` and `Scalars` work with any Keras model,
`Pictures` with any model of this package; the others write a run folder.
"""

from iresnet_tf.training.averaging import averaged_weights
from iresnet_tf.training.callbacks.certificate import Certificate
from iresnet_tf.training.callbacks.checkpoints import BestCheckpoint, Checkpoints, Validation
from iresnet_tf.training.callbacks.ema import EMA
from iresnet_tf.training.callbacks.logging import History, Progress, Scalars, Seconds
from iresnet_tf.training.callbacks.pictures import Pictures
from iresnet_tf.training.callbacks.spectra import Spectra
from iresnet_tf.training.callbacks.termination import TerminateOnNaN

__all__ = [
    "EMA",
    "BestCheckpoint",
    "Certificate",
    "Checkpoints",
    "History",
    "Pictures",
    "Progress",
    "Scalars",
    "Seconds",
    "Spectra",
    "TerminateOnNaN",
    "Validation",
    "averaged_weights",
]
