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

    Every conditional one among them receives the stack's context.

    Raises:
        ValueError: if one of the layers is not invertible, or two take contexts of different
            shapes.
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
        shapes = {part.context_shape for part in self.parts if part.is_conditional}
        if len(shapes) > 1:
            raise ValueError(
                f"The layers of a stack share one context; received layers whose contexts have "
                f"the shapes {sorted(shapes)}. Give them one context_shape, and take its part of "
                "the context in each conditioner."
            )

    @property
    def context_shape(self):
        """Shape of one context, where a layer is conditional."""
        return next((part.context_shape for part in self.parts if part.is_conditional), None)

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

    def call(self, x, training=False, context=None):
        self.condition(context, x)
        for part in self.parts:
            options = {"training": training} if part._call_has_training_arg else {}
            x = part(x, **options, **_given(part, context))
        return x

    def is_initialized(self):
        return all(part.is_initialized() for part in self.parts)

    def initialize(self, x, context=None):
        """Layer after layer, each from what the layers before it make of ``x``."""
        x = self.prepare(x)
        for part in self.parts:
            if not part.is_initialized():
                part.initialize(x, **_given(part, context))
            x = part(x, **_given(part, context))

    def transform(self, x, seed, context=None):
        total = tf.zeros(tf.shape(x)[:1], x.dtype)
        for index, part in enumerate(self.parts):
            part_seed = probes.fold_in(seed, index)
            x, log_det = part.forward_and_log_det(x, part_seed, **_given(part, context))
            total += log_det
        return x, total

    def output_event_shape(self):
        return self.latent_shape

    def invert(self, y, context=None):
        """Layer by layer; iterations add up, and each layer enlarges the error before it.

        The residual is the largest of the layers'.
        """
        result = InverseResult.exact(y)
        for part in reversed(self.parts):
            step = part.inverse(result.x, **_given(part, context))
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

    def preimage(self, y, context=None):
        for part in reversed(self.parts):
            y = part.preimage(y, **_given(part, context))
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


def _given(part, context):
    """The keyword of a conditional part."""
    return {"context": context} if part.is_conditional else {}


def residual_blocks(layer):
    """Every residual block of an invertible layer in order, as often as data pass it."""
    return [each for each in _innermost(layer) if isinstance(each, ResidualBlock)]


def act_norms(layer):
    """Every ActNorm of an invertible layer in order, as often as data pass it."""
    return [each for each in _innermost(layer) if isinstance(each, ActNorm)]


def _innermost(layer):
    return [each for part in layer.parts for each in _innermost(part)] if layer.parts else [layer]
