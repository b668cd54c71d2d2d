"""The contract of an invertible layer."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers import inputs
from iresnet_tf.layers.inversion import InverseOptions, InverseResult
from iresnet_tf.numerics import random

_DRAWING = threading.Lock()
"""Held while a seed is drawn, so that two threads never draw the same one."""


class Invertible(keras.layers.Layer):
    """A layer ``y = F(x)`` with an inverse and a log-determinant, from data to latent.

    A subclass defines `inverse_lipschitz_bound` and the hooks `_forward_and_log_det` and
    `_inverse`, or, if the inverse is a formula, extends `ClosedForm`.  Hooks receive prepared
    tensors: converted and checked, with the layer built.  A layer that changes the shape of a
    sample also defines ``compute_output_shape`` and `compute_input_shape`; one that depends on a
    context has a `context_shape`.

    Args:
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: for a half-precision or mixed dtype policy: a flow inverted in bfloat16 is
            off by about 1e-2, in float16 by 1e-3.
    """

    parts: Sequence["Invertible"] = ()
    """The invertible layers of which this one is made."""

    context_shape: tuple[int, ...] | None = None
    """The shape of one context ``c`` of a conditional map ``F(x; c)``, else ``None``."""

    conditioner: keras.layers.Layer | None = None
    """The network that computes the features of a context, if the layer has one."""

    event_shape: tuple[int, ...]
    """Shape of one sample; ``None`` until the layer is built."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.compute_dtype not in ("float32", "float64"):
            raise ValueError(
                f"{type(self).__name__} computes in float32 or float64; received the dtype "
                f"policy {self.dtype_policy.name!r}, whose rounding would break the inverse. "
                "Pass dtype='float32'."
            )
        self.event_shape = None  # type: ignore[assignment]

    # The hooks of a subclass.

    def _forward_and_log_det(
        self, x: tf.Tensor, *, seed: tf.Tensor, context: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns ``F(x)`` and ``log |det ∂F/∂x|``, ``[batch]``, nats."""
        raise NotImplementedError(f"{type(self).__name__} must implement _forward_and_log_det.")

    def _inverse(self, y: tf.Tensor, options: InverseOptions) -> InverseResult:
        """Returns ``F⁻¹(y)``, differentiable, with its report."""
        raise NotImplementedError(f"{type(self).__name__} must implement _inverse.")

    def _inverse_point(self, y: tf.Tensor, options: InverseOptions) -> tf.Tensor:
        """Returns ``F⁻¹(y)``, differentiable, without the report."""
        return self._inverse(y, options).x

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        """Returns an upper bound on ``Lip(F⁻¹)`` for the current weights."""
        raise NotImplementedError(f"{type(self).__name__} must implement inverse_lipschitz_bound.")

    def _unit(self) -> float | tf.Tensor:
        """Returns the largest unit of ``y`` in units of ``x``; 1 if the layer keeps the units."""
        return 1.0

    def _block_tolerance(self, tolerance: float | None) -> float | None:
        """Returns the share of each residual block in the layer's tolerance."""
        return tolerance

    def _expected_event_ndims(self) -> int | None:
        """Returns the rank of one sample, if it is known before the layer is built."""
        return None

    def _part_inputs(
        self, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> Iterator[tuple["Invertible", tf.Tensor]]:
        """Yields the parts in order, each with what it receives for the input ``x``.

        By default each part receives the output of the part before it.
        """
        for part in self.parts:
            yield part, x
            x = part(x, context=context) if part.is_conditional else part(x)

    def _last_latent(self, y: tf.Tensor) -> tf.Tensor:
        """Returns the part of a latent ``y`` that has passed every layer, for a classifier's head.

        That is all of ``y``, except after a `FactorOut`; a final `Flatten` is undone.
        """
        return y

    def _last_latent_shape(self) -> tuple[int, ...]:
        """Returns the shape of one sample of `_last_latent`."""
        return self.latent_shape

    # Data-dependent initialisation.

    def is_initialized(self) -> bool:
        """Returns whether no data-dependent initialisation is outstanding."""
        return True

    def initialize(self, x: Any, *, context: Any = None) -> None:
        """Sets the weights that depend on the first data; most layers have none.

        Args:
            x: ``[batch, …event]``.
            context: see `forward_and_log_det`.
        """
        self._prepare(x)

    # The public calls.

    def forward_and_log_det(
        self, x: Any, *, seed: Any = None, context: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns ``y = F(x)`` and ``log |det ∂y/∂x|``, data → latent.

        Args:
            x: ``[batch, …event]``.
            seed: integer or stateless seed ``[2]`` of the random numbers; by default a new one
                from the layer's saved generator state.
            context: for a conditional layer, ``[batch, …context_shape]``, or
                ``[1, …context_shape]`` for all samples alike.  The derivative is that in ``x``.

        Returns:
            ``y``: ``[batch, …latent]``; ``log_det``: ``[batch]``, nats.

        Raises:
            ValueError: for a wrong rank or event shape, a missing context, or a context that the
                layer does not take.
            tf.errors.InvalidArgumentError: for NaN or Inf in ``x``.
        """
        x = self._prepare(x)
        seed = self._next_seed() if seed is None else random.as_seed(seed)
        return self._checked_forward(x, seed=seed, context=self._condition(context, x))

    def _checked_forward(self, x, *, seed, context):
        """Returns what `_forward_and_log_det` does; refuses outputs of another shape."""
        y, log_det = self._forward_and_log_det(x, seed=seed, context=context)
        if log_det.shape.rank != 1 or not y.shape[1:].is_compatible_with(self.latent_shape):
            raise ValueError(
                f"{self.name} must return y [batch, {', '.join(map(str, self.latent_shape))}] (see "
                f"its compute_output_shape) and a log-determinant [batch]; it returned shapes "
                f"{y.shape} and {log_det.shape}."
            )
        return y, log_det

    def inverse(
        self, y: Any, *, tolerance: float | None = None, context: Any = None
    ) -> InverseResult:
        """Returns ``x = F⁻¹(y)`` as an `InverseResult`; ``x`` is differentiable.

        Args:
            y: ``[batch, …latent]``.
            tolerance: largest root mean square of ``x − F⁻¹(y)`` over a sample, in the units of
                ``x``; by default the tolerance of each residual block's solver applies.
            context: see `forward_and_log_det`.

        Raises:
            ValueError: see `forward_and_log_det`; or for a tolerance that is not positive.
            tf.errors.InvalidArgumentError: for NaN or Inf in ``y``.
        """
        y = self._prepare_output(y)
        return self._inverse(y, self._inverse_options(y, tolerance, context))

    # Shapes.

    def build(self, input_shape: tuple) -> None:
        self.event_shape = tuple(input_shape[1:])
        self.input_spec = keras.layers.InputSpec(shape=(None, *self.event_shape))
        start = random.new_state
        self.seed_state = self.add_weight(
            name="seed_state", shape=(2,), dtype="int32", initializer=start, trainable=False
        )

    @property
    def event_ndims(self) -> int | None:
        """Rank of one sample; ``None`` if it is not known before the layer is built."""
        return self._expected_event_ndims() if self.event_shape is None else len(self.event_shape)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent sample, once the layer is built."""
        return tuple(self.compute_output_shape((None, *(self.event_shape or ())))[1:])

    @property
    def is_conditional(self) -> bool:
        """Whether the map depends on a context."""
        return self.context_shape is not None

    def call(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        return self._forward_and_log_det(x, seed=None, context=context)[0]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def compute_input_shape(self, output_shape: Sequence) -> tuple:
        """Returns the shape of ``x`` for that of ``y = F(x)``; by default they are equal."""
        return tuple(output_shape)

    # Preparation.

    def _prepare(self, x: Any) -> tf.Tensor:
        """Returns ``x`` as a checked tensor of the layer's dtype; builds the layer if necessary."""
        x = inputs.as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        return self._checked(x, self.event_shape)

    def _prepare_output(self, y: Any) -> tf.Tensor:
        """Returns a latent ``y`` as a checked tensor; builds the layer if necessary."""
        y = inputs.as_tensor(y, self.compute_dtype)
        if not self.built:
            self.build(self.compute_input_shape(y.shape))
        return self._checked(y, self.latent_shape)

    def _checked(self, x, event_shape):
        if self.event_shape is None:
            raise ValueError(f"build of {type(self).__name__} must call super().build.")
        if tuple(x.shape[1:]) != tuple(event_shape):
            raise ValueError(
                f"{self.name} was built for samples of shape {tuple(event_shape)}; received a "
                f"batch of shape {tuple(x.shape)}. Give [batch, …] with that sample shape, or "
                "make a new layer for the new shape."
            )
        where = f"in a batch of shape {tuple(x.shape)}. {inputs.REMEDY}"
        return inputs.require_finite(x, f"{self.name} received NaN or Inf {where}")

    def _condition(self, context: Any, x: tf.Tensor) -> tf.Tensor | None:
        """Returns the context of a prepared batch ``x`` as a checked tensor, or ``None``."""
        if self.context_shape is None:
            if context is not None:
                raise ValueError(
                    f"{self.name} does not depend on a context; received one. Leave it out, or "
                    "give its contractions a context_shape, or add a ConditionalActNorm."
                )
            return None
        wanted = f"context=[batch, {', '.join(map(str, self.context_shape))}]"
        if context is None:
            raise ValueError(f"{self.name} depends on a context; received none. Give {wanted}.")
        context = inputs.as_tensor(context, self.compute_dtype)
        rows = context.shape[:1]
        if context.shape[1:] != self.context_shape or not (
            rows.is_compatible_with([1]) or rows.is_compatible_with(x.shape[:1])
        ):
            raise ValueError(
                f"{self.name} takes {wanted} with a batch of samples, or [1, …] for all alike; "
                f"received a context of shape {tuple(context.shape)} with {tuple(x.shape)}."
            )
        return context

    def _inverse_options(
        self, y: tf.Tensor, tolerance: float | None = None, context: Any = None
    ) -> InverseOptions:
        """Returns the checked options of an inverse at a prepared ``y``."""
        block_tolerance = self._block_tolerance(inputs.require_tolerance(tolerance))
        return InverseOptions(block_tolerance, self._condition(context, y))

    def _next_seed(self) -> tf.Tensor:
        """Returns a new stateless seed and advances the saved generator state.

        In eager mode, all threads draw different seeds.
        """
        # A graph takes no lock, and the threads of several replicas would wait for each other.
        alone = tf.executing_eagerly() and not tf.distribute.has_strategy()
        with _DRAWING if alone else contextlib.nullcontext():
            seed = tf.identity(self.seed_state.value)
            self.seed_state.assign_add([0, 1])
        return seed


class ClosedForm(Invertible):
    """A layer whose inverse is a formula.

    A subclass defines `_forward_and_log_det`, `_closed_form` and `inverse_lipschitz_bound`.
    """

    def _closed_form(self, y: tf.Tensor, *, context: tf.Tensor | None) -> tuple:
        """Returns ``F⁻¹(y)``, followed by its summands if it is a sum."""
        raise NotImplementedError(f"{type(self).__name__} must implement _closed_form.")

    def _inverse(self, y, options):
        return InverseResult.exact(*self._tuple(self._closed_form(y, context=options.context)))

    def _inverse_point(self, y, options):
        return self._tuple(self._closed_form(y, context=options.context))[0]

    def _tuple(self, terms):
        if not isinstance(terms, tuple):
            raise ValueError(
                f"_closed_form of {type(self).__name__} must return a tuple (x, *summands); it "
                f"returned {type(terms).__name__}."
            )
        return terms
