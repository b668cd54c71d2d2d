"""Multi-scale structure: half of the channels leave early."""

import keras
import tensorflow as tf

from iresnet_tf.layers.flatten import ToVector
from iresnet_tf.layers.invertible import InverseResult
from iresnet_tf.layers.stack import Stack
from iresnet_tf.numerics import random


@keras.saving.register_keras_serializable("iresnet_tf")
class FactorOut(ToVector):
    """``F(a, b) = (a, R(b))``: the first half of the channels is latent, ``R`` maps the rest.

    ``log_det F = log_det R``.  Scales nest: ``R`` may end with a `FactorOut` of its own.

    Args:
        rest: invertible layers, data side first, or a `Stack` of them.

    Shapes: ``[batch, …, channels] → [batch, D]``, the first half flattened before ``R``'s
    latent, flattened.

    Raises:
        ValueError: for fewer than two channels, or a rest that is not invertible.

    Source: Dinh et al. 2017 (arXiv:1605.08803), §3.6.
    """

    iterative = True

    def __init__(self, rest, **kwargs):
        rest = rest if isinstance(rest, Stack) else Stack(rest)
        kwargs.setdefault("dtype", rest.dtype_policy.name)
        super().__init__(**kwargs)
        self.rest = rest

    @property
    def parts(self):
        return (self.rest,)

    @property
    def context_shape(self):
        """Shape of one context, where the rest is conditional."""
        return self.rest.context_shape

    def expected_event_ndims(self):
        return self.rest.event_ndims

    def build(self, input_shape):
        shape = tuple(input_shape)
        if None in shape[1:] or shape[-1] < 2:
            raise ValueError(
                f"{self.name} splits the channels (the last axis) in half, so it needs at least "
                f"two and a known shape; received {shape}."
            )
        super().build(input_shape)
        self.channels = shape[-1] // 2
        rest_shape = (*shape[:-1], shape[-1] - self.channels)
        if not self.rest.built:
            self.rest.build(rest_shape)
        self.early_shape = (*shape[1:-1], self.channels)
        self.late_shape = tuple(self.rest.compute_output_shape(rest_shape)[1:])

    def call(self, x, training=False, **condition):
        early, late = self._split(x)
        return self._joined(early, self.rest(late, training=training, **condition))

    def is_initialized(self):
        return self.rest.is_initialized()

    def initialize(self, x, **condition):
        self.rest.initialize(self._split(self.prepare(x))[1], **condition)

    def transform(self, x, seed, **condition):
        early, late = self._split(x)
        late_seed = random.fold_in(seed, 0)
        late, log_det = self.rest.forward_and_log_det(late, late_seed, **condition)
        return self._joined(early, late), log_det

    def inverse(self, y, tolerance=None, context=None):
        """As `Stack.inverse` of points by themselves, of the rest; what has left is exact."""
        y = self.prepare_output(y)
        block_tolerance = self.rest.block_tolerance(tolerance)
        return self.invert(y, block_tolerance=block_tolerance, **self.condition(context, y))

    def invert(self, y, **options):
        early, late = self._parted(y)
        result = self.rest.invert(self.rest.prepare_output(late), **options)
        return InverseResult(tf.concat([early, result.x], -1), *result[1:])

    def preimage(self, y, **options):
        early, late = self._parted(y)
        return tf.concat([early, self.rest.preimage(late, **options)], -1)

    def inverse_lipschitz_bound(self):
        """The rest's, and 1 for what leaves."""
        return tf.maximum(1.0, tf.cast(self.rest.inverse_lipschitz_bound(), tf.float64))

    def last_latent(self, y):
        return self.rest.last_latent(self._parted(y)[1])

    def last_latent_shape(self):
        return self.rest.last_latent_shape()

    def _split(self, x):
        return tf.split(x, [self.channels, x.shape[-1] - self.channels], -1)

    def _joined(self, early, late):
        return tf.concat([_flat(early, self.early_shape), _flat(late, self.late_shape)], -1)

    def _parted(self, y):
        size = tf.TensorShape(self.early_shape).num_elements()
        early = tf.reshape(y[:, :size], [-1, *self.early_shape])
        return early, tf.reshape(y[:, size:], [-1, *self.late_shape])

    def get_config(self):
        return {**super().get_config(), "rest": keras.saving.serialize_keras_object(self.rest)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "rest": keras.saving.deserialize_keras_object(config["rest"])})


def _flat(x, event_shape):
    return tf.reshape(x, [-1, tf.TensorShape(event_shape).num_elements()])
