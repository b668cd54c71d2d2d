"""Keras layers: contractions, and the invertible layers that are built from them."""

from iresnet_tf.layers.act_norm import ActNorm
from iresnet_tf.layers.activations import (
    Activation,
    CLipSwish,
    LipschitzActivation,
    LipSwish,
    MaxMin,
)
from iresnet_tf.layers.blocks import (
    act_norms,
    lipschitz_bounds,
    residual_blocks,
    vouched_blocks,
)
from iresnet_tf.layers.conditional_act_norm import ConditionalActNorm
from iresnet_tf.layers.context_bias import ContextBias
from iresnet_tf.layers.contraction import Contraction
from iresnet_tf.layers.contractive import ContractiveLayer, UnknownLipschitzError
from iresnet_tf.layers.dense_concatenation import DenseConcatenation
from iresnet_tf.layers.factor_out import FactorOut
from iresnet_tf.layers.flatten import Flatten
from iresnet_tf.layers.gaussianize import Gaussianize
from iresnet_tf.layers.inversion import InverseOptions, InverseResult
from iresnet_tf.layers.invertible import ClosedForm, Invertible
from iresnet_tf.layers.padding import InjectivePadding
from iresnet_tf.layers.preprocessing import Center, Dequantize, Logit, Standardize
from iresnet_tf.layers.refresh import refresh, spectral_layers
from iresnet_tf.layers.residual import ResidualBlock
from iresnet_tf.layers.spectral import SpectralLayer
from iresnet_tf.layers.spectral_conv2d import SpectralConv2D
from iresnet_tf.layers.spectral_dense import SpectralDense
from iresnet_tf.layers.squeeze import Squeeze
from iresnet_tf.layers.stack import Stack
from iresnet_tf.layers.whiten import Whiten

__all__ = [
    "ActNorm",
    "Activation",
    "CLipSwish",
    "Center",
    "ClosedForm",
    "ConditionalActNorm",
    "ContextBias",
    "Contraction",
    "ContractiveLayer",
    "DenseConcatenation",
    "Dequantize",
    "FactorOut",
    "Flatten",
    "Gaussianize",
    "InjectivePadding",
    "InverseOptions",
    "InverseResult",
    "Invertible",
    "LipSwish",
    "LipschitzActivation",
    "Logit",
    "MaxMin",
    "ResidualBlock",
    "SpectralConv2D",
    "SpectralDense",
    "SpectralLayer",
    "Squeeze",
    "Stack",
    "Standardize",
    "UnknownLipschitzError",
    "Whiten",
    "act_norms",
    "lipschitz_bounds",
    "refresh",
    "residual_blocks",
    "spectral_layers",
    "vouched_blocks",
]
