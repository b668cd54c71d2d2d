"""Makes the plain form: TensorFlow's own layers, and a series that nested tapes differentiate."""

import tensorflow as tf

from iresnet_tf.layers import Activation, LipSwish, SpectralConv2D, SpectralDense, residual_blocks
from iresnet_tf.numerics import random


def make_plain(model):
    """Lets every residual block of the model compute its log-determinant the plain way.

    The kernels are constrained as usual, once in each step.
    """
    for block in residual_blocks(model.flow):
        block._forward_and_log_det = _forward_and_log_det(block)
    return model


def _forward_and_log_det(block):
    def forward_and_log_det(x, *, seed, context):
        del context
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            value = x
            for layer in block.g.parts:
                value = _layer(layer)(value)
        v = random.gaussian(tf.shape(x), random.as_seed(seed), x.dtype)
        power, total = v, 0.0
        for k in range(1, block.log_det.terms + 1):
            power = -tape.gradient(value, x, power)
            total -= tf.reduce_sum(power * v, list(range(1, x.shape.rank))) / k
        return x + value, total

    return forward_and_log_det


def _layer(layer):
    if isinstance(layer, SpectralConv2D):
        kernel = layer.constrained_kernel()
        return lambda x: tf.nn.conv2d(x, kernel, 1, "SAME") + layer.bias
    if isinstance(layer, SpectralDense):
        kernel = layer.constrained_kernel()
        return lambda x: tf.matmul(x, kernel) + layer.bias
    if isinstance(layer, LipSwish):
        slope = tf.math.softplus(layer.beta)
        return lambda x: x * tf.sigmoid(slope * x) / 1.1
    if isinstance(layer, Activation):
        return {"elu": tf.nn.elu, "relu": tf.nn.relu, "tanh": tf.tanh}[layer.function]
    raise TypeError(f"The plain form has no {type(layer).__name__}.")
