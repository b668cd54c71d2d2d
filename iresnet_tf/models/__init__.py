"""Keras models built from invertible layers."""

from iresnet_tf.models import architectures
from iresnet_tf.models.classifier import Classifier
from iresnet_tf.models.conditional import ConditionalDensityModel
from iresnet_tf.models.density import DensityModel
from iresnet_tf.models.flow import FlowModel
from iresnet_tf.models.hybrid import HybridModel
from iresnet_tf.models.likelihood import bits_per_dim
from iresnet_tf.models.normal_mixture import NormalMixture
from iresnet_tf.models.prior import ConditionalNormal, DiagonalNormal, Prior
from iresnet_tf.models.table import TableModel

__all__ = [
    "Classifier",
    "ConditionalDensityModel",
    "ConditionalNormal",
    "DensityModel",
    "DiagonalNormal",
    "FlowModel",
    "HybridModel",
    "NormalMixture",
    "Prior",
    "TableModel",
    "architectures",
    "bits_per_dim",
]
