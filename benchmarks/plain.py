"""The plain form: the power series with nested tapes, differentiated through."""

import tensorflow as tf

from iresnet_tf.layers import residual_blocks
from iresnet_tf.layers.binding import bind
from iresnet_tf.numerics import probes


def make_plain(model):
    """Lets every residual block of the model compute its log-determinant the plain way."""
    for block in residual_blocks(model.flow):
        block.transform = _transform(block)
    return model


def _transform(block):
    def transform(x, seed):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            value = bind(block.g)(x)
        v = probes.gaussian(tf.shape(x), probes.as_seed(seed), x.dtype)
        power, total = v, 0.0
        for k in range(1, block.log_det.terms + 1):
            power = -tape.gradient(value, x, power)
            total -= tf.reduce_sum(power * v, list(range(1, x.shape.rank))) / k
        return x + value, total

    return transform
