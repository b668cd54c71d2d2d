"""Composition of invertible layers."""

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.layers.blocks import residual_blocks
from iresnet_tf.layers.flatten import ToVector
from iresnet_tf.layers.inputs import REMEDY, require_finite
from iresnet_tf.layers.inversion import InverseOptions, InverseResult
from iresnet_tf.layers.invertible import Invertible
from iresnet_tf.layers.preprocessing import Preprocessing
from iresnet_tf.numerics import random
from iresnet_tf.numerics.axes import batch_shape
from iresnet_tf.numerics.precision import as_float64, rounded_up


@keras.saving.register_keras_serializable("iresnet_tf")
class Stack(Invertible):
    """``F = F_K ∘ … ∘ F_1``; ``log_det = Σ log_det_k``.

    Every conditional layer receives the context of the stack.

    Args:
        layers: invertible layers, data side first.

    Raises:
        ValueError: if a layer is not invertible, or two take contexts of different shapes.
    """

    def __init__(self, layers: Sequence[Invertible], **kwargs) -> None:
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
                f"the shapes {sorted(shapes)}. Give them one context_shape, and take each layer's "
                "part of the context in its conditioner."
            )

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """The shape of one context; ``None`` if no layer is conditional."""
        return next((part.context_shape for part in self.parts if part.is_conditional), None)

    def _expected_event_ndims(self):
        for part in self.parts:
            # After a layer that flattens, ranks differ from that of the stack's samples.
            if part.event_ndims is not None or isinstance(part, ToVector):
                return part.event_ndims
        return None

    def build(self, input_shape: tuple) -> None:
        # A shape that does not fit is refused before any layer is built for it.
        shape = tuple(input_shape)
        for part in self.parts:
            if len(shape) - 1 < (part.event_ndims or 0):
                raise ValueError(
                    f"{part.name} takes samples of {part.event_ndims} axes; received a batch of "
                    f"shape {shape}. Reshape the data."
                )
            shape = tuple(part.compute_output_shape(shape))
        super().build(input_shape)
        shape = tuple(input_shape)
        for part in self.parts:
            if not part.built:
                part.build(shape)
            shape = tuple(part.compute_output_shape(shape))

    def call(
        self, x: tf.Tensor, training: bool = False, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype)
        context = self._condition(context, x)
        for part in self.parts:
            # Keras hands `training` on to every layer that takes it.
            x = part(x, context=context) if part.is_conditional else part(x)
        return x

    def is_initialized(self) -> bool:
        return all(part.is_initialized() for part in self.parts)

    def initialize(self, x: Any, *, context: Any = None) -> None:
        """Initialises layer after layer, each from the outputs of the layers before it."""
        x = self._prepare(x)
        for part in self.parts:
            options = {"context": context} if part.is_conditional else {}
            if not part.is_initialized():
                part.initialize(x, **options)
            x = part(x, **options)

    def _forward_and_log_det(self, x, *, seed, context):
        total = tf.zeros(batch_shape(x), x.dtype)
        for part, own_seed in zip(self.parts, random.fold_in_each(seed, len(self.parts))):
            x = tf.cast(x, part.compute_dtype)
            own_context = context if part.is_conditional else None
            x, log_det = part._checked_forward(x, seed=own_seed, context=own_context)
            # The check comes after each layer, so that the message names the cause.
            x = require_finite(x, f"{part.name} returned NaN or Inf for a finite batch. {REMEDY}")
            total += log_det
        return x, total

    def inverse(
        self,
        y: Any,
        *,
        tolerance: float | None = None,
        context: Any = None,
        path_steps: int | None = None,
    ) -> InverseResult:
        """Returns ``x = F⁻¹(y)`` as an `InverseResult`; ``x`` is differentiable.

        ``iterations`` is the sum over the layers, ``residual`` the largest of the layers', and
        ``converged`` tells whether every block met its tolerance.  ``error_bound`` is certified
        for the whole stack: the bounds of many blocks multiply, and mostly exceed the error by far.

        Args:
            y, context: see `Invertible.inverse`, also for the errors raised.
            tolerance: largest root mean square of ``x − F⁻¹(y)`` over a sample, in the units of
                ``x``, of which each block gets an equal share; by default the tolerance of each
                block's solver applies.
            path_steps: number of points on each path, if ``y`` is
                ``[paths · path_steps, …latent]``, one path after the other.  In every block most
                points then start from their neighbours: see `iresnet_tf.numerics.solvers.paths`.

        Raises:
            ValueError: also if ``path_steps`` does not divide the batch.
        """
        y = self._prepare_output(y)
        if path_steps is not None and (
            not isinstance(path_steps, numbers.Integral)
            or path_steps < 1
            or (y.shape[0] or 0) % path_steps
        ):
            raise ValueError(
                "y is made of whole paths, [paths · path_steps, …latent], of at least one point; "
                f"received path_steps={path_steps!r} and {y.shape[0]} points."
            )
        options = self._inverse_options(y, tolerance, context)
        options = dataclasses.replace(options, path_steps=path_steps)  # type: ignore[arg-type]
        return self._inverse(y, options)

    def _block_tolerance(self, tolerance):
        """Divides the tolerance equally among the residual blocks.

        The share is in the units of the data.  `_backwards` converts it to those of each block by
        the Lipschitz constants of the preprocessing's inverses (n for n levels), and by the first
        standard deviations of an ActNorm before all blocks, which sees the units of the data.
        Other layers count as 1, a typical value and no bound: the product of their bounds would
        demand more than float32 can give.
        """
        return None if tolerance is None else tolerance / max(1, len(residual_blocks(self)))

    def _backwards(self, options: InverseOptions):
        """Returns the parts in reverse order, each with the options of its inverse."""
        steps, tolerance, in_data_units = [], options.block_tolerance, True
        for part in self.parts:
            context = options.context if part.is_conditional else None
            steps.append((part, InverseOptions(tolerance, context, options.path_steps)))
            in_data_units = in_data_units and not residual_blocks(part)
            if tolerance is not None and (in_data_units or isinstance(part, Preprocessing)):
                tolerance = tolerance / part._unit()
        return reversed(steps)

    def _unit(self):
        return _product(part._unit() for part in self.parts)

    def _inverse(self, y, options):
        result = InverseResult.exact(y)
        for part, own in self._backwards(options):
            step = part._inverse(part._prepare_output(result.x), own)
            growth = as_float64(part.inverse_lipschitz_bound())
            carried = tf.math.multiply_no_nan(growth, as_float64(result.error_bound))
            result = InverseResult(
                step.x,
                result.iterations + step.iterations,
                tf.maximum(result.residual, step.residual),
                result.converged & step.converged,
                rounded_up(as_float64(step.error_bound) + carried, y.dtype),
            )
        return result

    def _inverse_point(self, y, options):
        for part, own in self._backwards(options):
            y = part._inverse_point(y, own)
        return y

    def _last_latent(self, y):
        return self.parts[-1]._last_latent(y) if self.parts else y

    def _last_latent_shape(self):
        return self.parts[-1]._last_latent_shape() if self.parts else self.event_shape

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return _product(part.inverse_lipschitz_bound() for part in self.parts)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        shape = tuple(input_shape)
        for part in self.parts:
            shape = tuple(part.compute_output_shape(shape))
        return shape

    def compute_input_shape(self, output_shape: Sequence) -> tuple:
        shape = tuple(output_shape)
        for part in reversed(self.parts):
            shape = tuple(part.compute_input_shape(shape))
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layers": keras.saving.serialize_keras_object(self.parts)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "layers": keras.saving.deserialize_keras_object(config["layers"])})


def _product(factors):
    return math.prod(map(as_float64, factors), start=as_float64(1.0))
