"""Invertible layers in a row."""

import collections
import numbers

import keras
import tensorflow as tf

from iresnet_tf.layers.act_norm import ActNorm
from iresnet_tf.layers.flatten import ToVector
from iresnet_tf.layers.invertible import (
    REMEDY,
    InverseResult,
    Invertible,
    require_finite,
    require_tolerance,
)
from iresnet_tf.layers.preprocessing import Preprocessing
from iresnet_tf.layers.residual import ResidualBlock
from iresnet_tf.numerics import random


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

    iterative = True

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
        shapes = {str(part.context_shape) for part in self.parts if part.is_conditional}
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

    def expected_event_ndims(self):
        for part in self.parts:
            # After one that reshapes, ranks are of other samples.
            if part.event_ndims is not None or isinstance(part, ToVector):
                return part.event_ndims
        return None

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
            x = tf.cast(x, part.compute_dtype)
            x, log_det = part.transform(x, random.fold_in(seed, index), **_given(part, context))
            # What a layer returns rather than what the next receives: the culprit is named.
            x = require_finite(x, f"{part.name} returned NaN or Inf for a finite batch. {REMEDY}")
            total += log_det
        return x, total

    def output_event_shape(self):
        return self.latent_shape

    def inverse(self, y, tolerance=None, context=None, path_steps=None):
        """``x = F⁻¹(y)`` as an `InverseResult`.

        ``converged`` says that every block met its own tolerance, ``error_bound`` what is
        certain of the whole: the bounds of many blocks multiply, and are mostly far too large.

        Args:
            y: ``[batch, …event]``.
            tolerance: asked of the whole: on the root mean square of ``x − F⁻¹(y)`` over a
                sample, in the units of ``x``.  It is shared out: see `block_tolerance`.  By
                default every block keeps to its solver's own.
            context: see `forward_and_log_det`.
            path_steps: of how many points the paths are that ``y`` is made of, one path after
                the other.  In every block all but some start from their neighbours then: see
                `iresnet_tf.numerics.solvers.paths`.

        Raises:
            ValueError: as `forward_and_log_det`, for a tolerance that is not positive, or paths
                that do not divide the batch.
            tf.errors.InvalidArgumentError: for NaN or Inf in ``y``.
        """
        y = self.prepare_output(y)
        if path_steps is not None and (
            not isinstance(path_steps, numbers.Integral)
            or path_steps < 1
            or (y.shape[0] or 0) % path_steps
        ):
            raise ValueError(
                "y is made of whole paths, [paths · path_steps, …event], of at least one point; "
                f"received path_steps={path_steps!r} and {y.shape[0]} points."
            )
        block_tolerance = self.block_tolerance(tolerance)
        return self.invert(y, block_tolerance, **self.condition(context, y), path_steps=path_steps)

    def block_tolerance(self, tolerance):
        """What each block may err by at the stack's data side: ``tolerance / blocks``.

        From there it is carried to the block through the preprocessing exactly, by the
        Lipschitz constants of the inverses, as 1/n for levels; other layers count as 1, which
        is the order of what they do, not a bound (the product of bounds would ask more than
        float32 can give).  A block meets its share by its own constant: see `ResidualBlock`.
        """
        if tolerance is None:
            return None
        return require_tolerance(tolerance) / max(1, len(residual_blocks(self)))

    def _backwards(self, block_tolerance, context, path_steps):
        """Every part from the latent side on, with the keywords of its inverse."""
        steps = []
        for part in self.parts:
            own = {"block_tolerance": block_tolerance, "path_steps": path_steps}
            steps.append((part, {**(own if part.iterative else {}), **_given(part, context)}))
            if block_tolerance is not None and isinstance(part, Preprocessing):
                block_tolerance = block_tolerance / part.inverse_lipschitz_bound()
        return reversed(steps)

    def invert(self, y, block_tolerance=None, context=None, path_steps=None):
        """Layer by layer; iterations add up, and each layer enlarges the error before it.

        The residual is the largest of the layers'.
        """
        result = InverseResult.exact(y)
        for part, options in self._backwards(block_tolerance, context, path_steps):
            step = part.invert(part.prepare_output(result.x), **options)
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

    def preimage(self, y, block_tolerance=None, context=None, path_steps=None):
        for part, options in self._backwards(block_tolerance, context, path_steps):
            y = part.preimage(y, **options)
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


def residual_blocks(model_or_layer):
    """Every residual block in order: of an invertible layer as often as data pass it.

    Args:
        model_or_layer: an invertible layer, or any Keras model or layer that holds some.
    """
    return [each for each in innermost(model_or_layer) if isinstance(each, ResidualBlock)]


def act_norms(model_or_layer):
    """Every ActNorm in order: see `residual_blocks`."""
    return [each for each in innermost(model_or_layer) if isinstance(each, ActNorm)]


def lipschitz_bounds(model_or_layer):
    """Certified ``Lip(g)`` of every residual block, by name; ``inf`` where it is not known.

    A name that occurs again, because its block does or by coincidence, is numbered.

    Args:
        model_or_layer: see `residual_blocks`.
    """
    bounds, seen = {}, collections.Counter[str]()
    for block in residual_blocks(model_or_layer):
        seen[block.name] += 1
        again = f" ({seen[block.name]})" if seen[block.name] > 1 else ""
        bounds[block.name + again] = block.lipschitz_bound_or_inf()
    return bounds


def innermost(layer):
    """What a layer or model is made of, in order: no `Stack` or `FactorOut`, but its parts."""
    if not isinstance(layer, Invertible):
        inner = layer._flatten_layers(include_self=False, recursive=False)
    elif layer.parts:
        inner = layer.parts
    else:
        return [layer]
    return [each for part in inner for each in innermost(part)]
