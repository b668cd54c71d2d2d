"""Activation normalisation."""

import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.inputs import require_sample_shape
from iresnet_tf.layers.invertible import ClosedForm
from iresnet_tf.numerics.axes import batch_shape
from iresnet_tf.numerics.options import require_positive
from iresnet_tf.numerics.precision import as_float64


@keras.saving.register_keras_serializable("iresnet_tf")
class ActNorm(ClosedForm):
    """``y = (x + b) · exp(s)`` with a bias and a log-scale for each channel (the last axis).

    ``log_det = (elements of a channel) · Σ s``.  The layer is the identity until the first batch
    of ``call`` with ``training=True``, or that of `initialize`, sets ``b`` and ``s`` so that every
    channel of ``y`` has mean 0 and variance 1.  A channel that is constant in that batch, for
    example padding, keeps its scale.  A saved weight records the initialisation, so that it does
    not happen again after loading.

    ``b = bias + stddev · shift``: the first batch sets ``bias`` to minus its mean, and ``stddev``
    to its standard deviation.  The trained ``shift`` has no unit, so a step of an optimizer does
    not depend on the unit of the data.

    Args:
        epsilon: largest standard deviation of a channel that counts as constant, relative to the
            channel's largest absolute value; by default 8 roundings of the dtype.

    Raises:
        ValueError: for an ``epsilon`` that is not positive; when it is built, if the shape of a
            sample is not known.

    Source: Kingma and Dhariwal 2018 (arXiv:1807.03039), §3.1.
    """

    def __init__(self, epsilon: float | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if epsilon is None:
            epsilon = 8.0 * np.finfo(self.compute_dtype).eps
        self.epsilon = require_positive("epsilon", epsilon, "a positive number")

    def build(self, input_shape: tuple) -> None:
        require_sample_shape(self.name, input_shape)
        super().build(input_shape)
        channels = (input_shape[-1],)
        self.shift = self.add_weight(name="shift", shape=channels, initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=channels, initializer="zeros")
        add = functools.partial(self.add_weight, trainable=False)
        self.initialized = add(name="initialized", shape=(), dtype="bool", initializer="zeros")
        self.bias = add(name="bias", shape=channels, initializer="zeros")
        self.stddev = add(name="stddev", shape=channels, initializer="ones")

    def initialize(self, x: Any, *, context: Any = None) -> None:
        """Sets ``b`` and ``s`` from a batch, even if they have been set before."""
        x = self._prepare(x)
        values = tf.reshape(x, [-1, x.shape[-1]])
        # Deviations from one value of a constant channel are exactly zero; divided by the largest,
        # their squares neither under- nor overflow.
        deviation = values - values[0]
        largest = tf.reduce_max(tf.abs(deviation), 0)
        mean, variance = tf.nn.moments(tf.math.divide_no_nan(deviation, largest), 0)
        stddev = largest * tf.sqrt(variance)
        varies = stddev > self.epsilon * tf.reduce_max(tf.abs(values), 0)
        stddev = tf.where(varies, stddev, tf.ones_like(stddev))
        self.bias.assign(-(values[0] + largest * mean))
        self.stddev.assign(stddev)
        self.shift.assign(tf.zeros_like(stddev))
        self.log_scale.assign(-tf.math.log(stddev))
        self.initialized.assign(True)

    def load_own_variables(self, store: Any) -> None:
        weights = {key: store[key] for key in store.keys()}
        last = len(self.variables) - 1
        if len(weights) == last - 1:
            # In files of older versions the bias was the trained weight.
            zeros, ones = np.zeros(self.bias.shape), np.ones(self.bias.shape)
            weights |= {"0": zeros, str(last - 1): weights["0"], str(last): ones}
        super().load_own_variables(weights)

    def is_initialized(self) -> bool:
        # bool() of a mirrored variable is always true.
        return self.built and bool(self.initialized.numpy())

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training:
            if tf.executing_eagerly():
                if not self.is_initialized():
                    self.initialize(x)
            else:
                tf.cond(self.initialized.value, lambda: None, lambda: self.initialize(x))
        return self._scaled(x, tf.convert_to_tensor(self.log_scale))

    def _scaled(self, x, log_scale):
        return (x + self._offset()) * tf.exp(log_scale)

    def _offset(self):
        shift = tf.convert_to_tensor(self.stddev) * tf.convert_to_tensor(self.shift)
        return tf.convert_to_tensor(self.bias) + shift

    def _forward_and_log_det(self, x, *, seed, context):
        log_scale = tf.convert_to_tensor(self.log_scale)
        log_det = math.prod(self.event_shape[:-1]) * tf.reduce_sum(log_scale)
        return self._scaled(x, log_scale), tf.fill(batch_shape(x), log_det)

    def _closed_form(self, y, *, context):
        scale = tf.exp(-tf.convert_to_tensor(self.log_scale))
        offset = self._offset()
        return y * scale - offset, y * scale, offset

    def _unit(self):
        return as_float64(tf.reduce_max(tf.convert_to_tensor(self.stddev)))

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return tf.exp(-tf.reduce_min(as_float64(tf.convert_to_tensor(self.log_scale))))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
