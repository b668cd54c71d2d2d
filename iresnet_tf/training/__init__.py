"""Training of presets in run folders, on one device or several."""

from iresnet_tf.training import callbacks, optimizers, presets, schedules, strategies
from iresnet_tf.training.estimation import Estimate, estimate
from iresnet_tf.training.model_cards import ModelCard
from iresnet_tf.training.ownership import RunInUseError
from iresnet_tf.training.pretrained import card, load, pretrained_names
from iresnet_tf.training.run_folder import RunFolder
from iresnet_tf.training.runs import open_source, resume, train

__all__ = [
    "Estimate",
    "ModelCard",
    "RunFolder",
    "RunInUseError",
    "callbacks",
    "card",
    "estimate",
    "load",
    "open_source",
    "optimizers",
    "presets",
    "pretrained_names",
    "resume",
    "schedules",
    "strategies",
    "train",
]
