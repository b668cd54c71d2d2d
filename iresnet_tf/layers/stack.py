"""Invertible layers in a row."""

import keras
import tensorflow as tf

from iresnet_tf.layers.act_norm import ActNorm
from iresnet_tf.layers.invertible import InverseResult, Invertible
from iresnet_tf.layers.residual import ResidualBlock
from iresnet_tf.numerics import probes


@keras.saving.register_keras_serializable("iresnet_tf")
class Stack(Invertible):
    """``F = F_K ∘ … ∘ F_1``; ``log_det = Σ log_det_k``.

    Args:
        layers: invertible layers, data side first.

    Raises:
        ValueError: if one of the layers is not invertible.
    """

    def __init__(self, layers, **kwargs):
        for layer in layers:
            if not isinstance(layer, Invertible):
                raise ValueError(
                    f"A stack takes invertible layers of iresnet_tf.layers; received {layer!r}. "
                    "Wrap a residual branch as ResidualBlock(g)."
                )
        if layers:
            kwargs.setdefault("dtype", layers[0].dtype_policy.name)
        super().__init__(**kwargs)
        self.parts = list(layers)

    @property
    def event_ndims(self):
        """Rank of one sample, where the stack is built or a layer tells."""
        if self.event_shape is not None:
            return len(self.event_shape)
        known = [part.event_ndims for part in self.parts if part.event_ndims is not None]
        return known[0] if known else None

    def build(self, input_shape):
        super().build(input_shape)
        shape = tuple(input_shape)
        for part in self.parts:
            if not part.built:
                part.build(shape)
            shape = tuple(part.compute_output_shape(shape))
        self.latent_shape = shape[1:]

    def call(self, x, training=False):
        for part in self.parts:
            takes_training = part._call_has_training_arg
            x = part(x, training=training) if takes_training else part(x)
        return x

    def is_initialized(self):
        return all(part.is_initialized() for part in self.parts)

    def initialize(self, x):
        """Layer after layer, each from what the layers before it make of ``x``."""
        x = self.prepare(x)
        for part in self.parts:
            if not part.is_initialized():
                part.initialize(x)
            x = part(x)

    def transform(self, x, seed):
        total = tf.zeros(tf.shape(x)[:1], x.dtype)
        for index, part in enumerate(self.parts):
            x, log_det = part.forward_and_log_det(x, probes.fold_in(seed, index))
            total += log_det
        return x, total

    def output_event_shape(self):
        return self.latent_shape

    def invert(self, y):
        """Layer by layer; iterations add up, and each layer enlarges the error before it.

        The residual is the largest of the layers'.
        """
        result = InverseResult.exact(y)
        for part in reversed(self.parts):
            step = part.inverse(result.x)
            growth = tf.cast(part.inverse_lipschitz_bound(), y.dtype)
            carried = tf.math.multiply_no_nan(growth, result.error_bound)
            result = InverseResult(
                step.x,
                result.iterations + step.iterations,
                tf.maximum(result.residual, step.residual),
                result.converged & step.converged,
                step.error_bound + carried,
            )
        return result

    def preimage(self, y):
        for part in reversed(self.parts):
            y = part.preimage(y)
        return y

    def last_latent(self, y):
        return self.parts[-1].last_latent(y) if self.parts else y

    def last_latent_shape(self):
        return self.parts[-1].last_latent_shape() if self.parts else self.event_shape

    def inverse_lipschitz_bound(self):
        """The product of the layers'."""
        product = tf.ones([], tf.float64)
        for part in self.parts:
            product *= tf.cast(part.inverse_lipschitz_bound(), tf.float64)
        return product

    def compute_output_shape(self, input_shape):
        shape = tuple(input_shape)
        for part in self.parts:
            shape = tuple(part.compute_output_shape(shape))
        return shape

    def compute_input_shape(self, output_shape):
        shape = tuple(output_shape)
        for part in reversed(self.parts):
            shape = tuple(part.compute_input_shape(shape))
        return shape

    def get_config(self):
        layers = [keras.saving.serialize_keras_object(part) for part in self.parts]
        return {**super().get_config(), "layers": layers}

    @classmethod
    def from_config(cls, config):
        layers = [keras.saving.deserialize_keras_object(each) for each in config["layers"]]
        return cls(**{**config, "layers": layers})


def residual_blocks(layer):
    """Every residual block of an invertible layer in order, as often as data pass it."""
    return [each for each in innermost(layer) if isinstance(each, ResidualBlock)]


def act_norms(layer):
    """Every ActNorm of an invertible layer in order, as often as data pass it."""
    return [each for each in innermost(layer) if isinstance(each, ActNorm)]


def innermost(layer):
    """What an invertible layer is made of, in order: no `Stack` or `FactorOut`, but its parts."""
    return [each for part in layer.parts for each in innermost(part)] if layer.parts else [layer]
