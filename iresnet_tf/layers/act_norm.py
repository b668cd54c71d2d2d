"""Activation normalisation."""

from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers.invertible import ClosedForm


@keras.saving.register_keras_serializable("iresnet_tf")
class ActNorm(ClosedForm):
    """``y = (x + b) · exp(s)`` with a bias and a log-scale for each channel (the last axis).

    ``log_det = (elements of a channel) · Σ s``.  The layer is the identity until the first batch
    of ``call`` with ``training=True``, or that of `initialize`, sets ``b`` and ``s`` so that every
    channel of ``y`` has mean 0 and variance 1.  A channel that is constant in that batch, for
    example padding, keeps its scale.  A saved weight records the initialisation, so that it does
    not happen again after loading.

    Args:
        epsilon: largest standard deviation of a channel that counts as constant.

    Raises:
        ValueError: for an ``epsilon`` that is not positive; when it is built, if the shape of a
            sample is not known.

    Source: Kingma and Dhariwal 2018 (arXiv:1807.03039), §3.1.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs) -> None:
        super().__init__(**kwargs)
        if not epsilon > 0.0:
            raise ValueError(f"epsilon is a positive number; received {epsilon!r}.")
        self.epsilon = float(epsilon)

    def build(self, input_shape: tuple) -> None:
        if None in tuple(input_shape[1:]):
            raise ValueError(
                f"{self.name} needs the shape of a sample; received {tuple(input_shape)}."
            )
        super().build(input_shape)
        channels = (input_shape[-1],)
        self.bias = self.add_weight(name="bias", shape=channels, initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=channels, initializer="zeros")
        self.initialized = self.add_weight(
            name="initialized", shape=(), dtype="bool", initializer="zeros", trainable=False
        )

    def initialize(self, x: Any, *, context: Any = None) -> None:
        """Sets ``b`` and ``s`` from a batch, even if they have been set before."""
        x = self._prepare(x)
        mean, variance = tf.nn.moments(x, axes=list(range(x.shape.rank - 1)))
        self.bias.assign(-mean)
        stddev = tf.sqrt(variance)
        varies = stddev > self.epsilon
        self.log_scale.assign(-tf.math.log(tf.where(varies, stddev, tf.ones_like(stddev))))
        self.initialized.assign(True)

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
        return self._scaled(x)

    def _scaled(self, x):
        return (x + tf.convert_to_tensor(self.bias)) * tf.exp(tf.convert_to_tensor(self.log_scale))

    def _forward_and_log_det(self, x, *, seed, context):
        elements = tf.TensorShape(self.event_shape).num_elements() // self.event_shape[-1]
        log_det = elements * tf.reduce_sum(tf.convert_to_tensor(self.log_scale))
        return self._scaled(x), tf.fill(tf.shape(x)[:1], log_det)

    def _closed_form(self, y, *, context):
        scale = tf.exp(-tf.convert_to_tensor(self.log_scale))
        bias = tf.convert_to_tensor(self.bias)
        return y * scale - bias, y * scale, bias

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return tf.exp(-tf.reduce_min(tf.cast(tf.convert_to_tensor(self.log_scale), tf.float64)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
