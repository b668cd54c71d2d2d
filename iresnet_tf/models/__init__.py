"""Keras models built from invertible layers."""

from iresnet_tf.models.classifier import Classifier
from iresnet_tf.models.conditional import ConditionalDensityModel
from iresnet_tf.models.density import DensityModel, bits_per_dim
from iresnet_tf.models.flow import FlowModel
from iresnet_tf.models.hybrid import HybridModel

__all__ = [
    "Classifier",
    "ConditionalDensityModel",
    "DensityModel",
    "FlowModel",
    "HybridModel",
    "bits_per_dim",
]
