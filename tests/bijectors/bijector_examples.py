"""Layers, data and flows that the tests of the bijectors share."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.bijectors import Residual
from iresnet_tf.layers import (
    ActNorm,
    Center,
    Contraction,
    Dequantize,
    Logit,
    ResidualBlock,
    Squeeze,
    Stack,
)
from iresnet_tf.numerics.log_det import Exact, PowerSeries
from iresnet_tf.numerics.solvers import Anderson

tfd, tfb = tfp.distributions, tfp.bijectors
VECTOR, IMAGE = (3,), (4, 2, 1)


def dense_block(log_det=None, features=3, dtype="float64"):
    g = Contraction.mlp(units=(8,), coeff=0.9, dtype=dtype)
    block = ResidualBlock(g, log_det or Exact(), Anderson(tolerance=1e-12))
    block.build((None, features))
    return block


def conv_block(shape=IMAGE):
    g = Contraction.conv(filters=3, kernel_sizes=(3, 3), dtype="float64")
    block = ResidualBlock(g, Exact(), Anderson(tolerance=1e-12))
    block.build((None, *shape))
    return block


def act_norm(features):
    layer = ActNorm(dtype="float64")
    layer.build((None, *features))
    layer.bias.assign(np.linspace(-1.0, 0.5, features[-1]))
    layer.log_scale.assign(np.linspace(0.3, -0.8, features[-1]))
    return layer


def built(layer, shape):
    layer.build((None, *shape))
    return layer


def image_stack():
    fixed = [Dequantize(8, dtype="float64"), Logit(0.05, dtype="float64")]
    fixed += [Center(0.2, dtype="float64"), Squeeze(dtype="float64")]
    parts = [*fixed, act_norm((2, 1, 4)), conv_block((2, 1, 4))]
    return built(Stack(parts, dtype="float64"), IMAGE)


def scale_and_shift():
    return tfb.Scale(tf.constant(1.7, tf.float64)), tfb.Shift(tf.constant(-0.4, tf.float64))


def flow_of(bijector, features=3):
    base = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), features)
    return tfd.TransformedDistribution(base, tfb.Invert(bijector))


def expected_log_prob(blocks, x):
    """Returns the log-density by the change of variables, without a bijector."""
    total = 0.0
    for block in blocks:
        x, log_det = block.forward_and_log_det(x)
        total += log_det
    return total - tf.reduce_sum(0.5 * x**2 + 0.5 * np.log(2 * np.pi), -1)


def data(batch=4, features=3):
    return tf.constant(np.random.default_rng(3).normal(size=(batch, features)))


def change(block, factor=0.6):
    for weight in block.trainable_variables:
        weight.assign(factor * weight + 0.05)


def stochastic():
    return Residual(dense_block(PowerSeries(terms=3)), name="stochastic")
