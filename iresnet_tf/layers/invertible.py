"""The contract of an invertible layer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.maps.rounding import event_norm

REMEDY = (
    "Clean the data, or lower the learning rate or clip the gradients (global_clipnorm=1 of the "
    "optimizer) if this happened while training."
)


class InverseResult(NamedTuple):
    """A preimage and how well it is known, per sample.

    Attributes:
        x: ``[batch, …event]``.
        iterations: int32 ``[batch]``, evaluations of ``g``.
        residual: ``[batch]``, ``‖F(x) − y‖₂`` at the returned ``x``.
        converged: bool ``[batch]``, whether the solver met its tolerance.
        error_bound: ``[batch]``, upper bound on ``‖x − F⁻¹(y)‖₂``, rounding included;
            ``inf`` where the layer is not certified to be a contraction.
    """

    x: tf.Tensor
    iterations: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor
    error_bound: tf.Tensor

    @classmethod
    def exact(cls, x, *terms):
        """The result of an inverse in closed form: no iterations, no error but rounding.

        Args:
            x: ``[batch, …event]``.
            *terms: what was added up to ``x``, if anything: each is a few roundings off.
        """
        batch = tf.shape(x)[:1]
        epsilon = np.finfo(x.dtype.as_numpy_dtype).eps
        error = tf.zeros(batch, x.dtype)
        for term in terms:
            error += (
                8.0 * epsilon * event_norm(tf.broadcast_to(tf.cast(term, x.dtype), tf.shape(x)))
            )
        zero = tf.zeros(batch, x.dtype)
        one = tf.ones(batch, tf.bool)
        return cls(x, tf.zeros(batch, tf.int32), zero, one, tf.stop_gradient(error))


class Invertible(keras.layers.Layer):
    """A layer ``y = F(x)`` with an inverse and a log-determinant.

    Direction: data → latent.  A subclass gives `transform`, `invert`
    and `inverse_lipschitz_bound`, all on prepared tensors (built, converted,
    checked); this class derives the public face.

    Args:
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: for a half-precision or mixed dtype policy: a flow inverted
            in bfloat16 is off by about 1e-2, in float16 by 1e-3.
    """

    iterative = False
    """Whether `invert` and `preimage` iterate, and so take ``block_tolerance`` and ``path_steps``.

    The first is asked of the root mean square error that each residual block adds to a sample;
    for the second see `iresnet_tf.numerics.solvers.paths`."""

    parts: Sequence["Invertible"] = ()
    """The invertible layers that this one is made of."""

    context_shape: tuple | None = None
    """Shape of one context of a conditional map ``F(x; c)``; ``None`` where it is of ``x`` alone.

    A conditional layer's `transform`, `invert`, `preimage`, `initialize` and ``call`` take a
    ``context`` beside what is named here."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.compute_dtype not in ("float32", "float64"):
            raise ValueError(
                f"{type(self).__name__} computes in float32 or float64; received the dtype "
                f"policy {self.dtype_policy.name!r}, whose rounding would break the inverse. "
                "Pass dtype='float32'."
            )
        # The shape of a sample, once the layer is built.
        self.event_shape: Any = None

    @property
    def event_ndims(self):
        """Rank of one sample, where the layer is built or its kind or parts tell; else ``None``."""
        return self.expected_event_ndims() if self.event_shape is None else len(self.event_shape)

    # What a subclass gives.

    def expected_event_ndims(self):
        """Rank of one sample, where it is known before the layer is built."""
        return None

    def transform(self, x, seed):
        """``(y, log_det)`` at a prepared ``x``; ``seed`` is a stateless seed."""
        raise NotImplementedError

    def invert(self, y):
        """`InverseResult` at a prepared ``y``, differentiable; see `iterative`."""
        raise NotImplementedError

    def inverse_lipschitz_bound(self):
        """Upper bound on ``Lip(F⁻¹)`` with the weights as they are now."""
        raise NotImplementedError

    def is_initialized(self):
        """Whether the layer has had its data-dependent initialisation, if it has one."""
        return True

    def initialize(self, x):
        """Sets what depends on the first data; nothing, for most layers."""
        self.prepare(x)

    def preimage(self, y):
        """``F⁻¹(y)`` at a prepared ``y``, differentiable, without the report."""
        return self.invert(y).x

    def last_latent(self, y):
        """The part of ``y`` that has passed every layer, in its shape before a last `Flatten`.

        All of it, but for a `FactorOut`.
        """
        return y

    def last_latent_shape(self):
        """Shape of one sample of `last_latent`."""
        return self.output_event_shape()

    # The public face.

    def build(self, input_shape):
        self.event_shape = tuple(input_shape[1:])
        self.input_spec = keras.layers.InputSpec(shape=(None, *self.event_shape))
        self.seed_state = self.add_weight(
            name="seed_state",
            shape=(2,),
            dtype="int32",
            initializer=random_seed,
            trainable=False,
        )

    @property
    def is_conditional(self):
        """Whether the map depends on a context."""
        return self.context_shape is not None

    def forward_and_log_det(self, x, seed=None, context=None):
        """``y = F(x)`` and ``log |det ∂y/∂x|``, data → latent.

        Args:
            x: ``[batch, …event]``.
            seed: integer or stateless seed ``[2]`` for what is drawn; by default a
                fresh one from the layer's saved generator state.
            context: ``[batch, …context_shape]``, or ``[1, …context_shape]`` for all samples
                alike, of a conditional layer; the derivative is that in ``x``.

        Returns:
            ``y``: ``[batch, …event]``; ``log_det``: ``[batch]``, nats.

        Raises:
            ValueError: for a wrong rank or event shape, or a context where none belongs or
                none where one does.
            tf.errors.InvalidArgumentError: for NaN or Inf in ``x``.
        """
        x = self.prepare(x)
        seed = self.next_seed() if seed is None else random.as_seed(seed)
        return self.transform(x, seed, **self.condition(context, x))

    def inverse(self, y, context=None):
        """``x = F⁻¹(y)`` as an `InverseResult`.

        Args:
            y: ``[batch, …event]``.
            context: see `forward_and_log_det`.

        Raises:
            ValueError, tf.errors.InvalidArgumentError: as `forward_and_log_det`.
        """
        y = self.prepare_output(y)
        return self.invert(y, **self.condition(context, y))

    def condition(self, context, x):
        """The keywords that tell a conditional layer its context, checked; none for others.

        Args:
            context: see `forward_and_log_det`, or ``None``.
            x: the prepared batch beside it.
        """
        if self.context_shape is None:
            if context is not None:
                raise ValueError(
                    f"{self.name} does not depend on a context; received one. Leave it out, or "
                    "give its contractions a context_shape."
                )
            return {}
        wanted = f"context=[batch, {', '.join(map(str, self.context_shape))}]"
        if context is None:
            raise ValueError(f"{self.name} depends on a context; received none. Give {wanted}.")
        context = as_tensor(context, self.compute_dtype)
        rows = context.shape[:1]
        if context.shape[1:] != self.context_shape or not (
            rows.is_compatible_with([1]) or rows.is_compatible_with(x.shape[:1])
        ):
            raise ValueError(
                f"{self.name} takes {wanted} beside a batch of samples, or [1, …] for all alike; "
                f"received a context of shape {tuple(context.shape)} beside {tuple(x.shape)}."
            )
        return {"context": context}

    def next_seed(self):
        """A fresh stateless seed from the saved generator state, which moves on."""
        seed = tf.identity(self.seed_state.value)
        self.seed_state.assign_add([0, 1])
        return seed

    def call(self, x, **condition):
        """``F(x)``: of `transform` without a seed, where a subclass has no shorter way."""
        return self.transform(x, None, **condition)[0]

    def compute_output_shape(self, input_shape):
        """Shape of what ``input_shape`` is mapped to: the same unless the layer reshapes."""
        return input_shape

    def compute_input_shape(self, output_shape):
        """Shape of what the layer maps to ``output_shape``: the same unless it reshapes."""
        return output_shape

    def output_event_shape(self):
        """Shape of one latent sample; that of the input unless the layer reshapes."""
        return self.event_shape

    def prepare(self, x):
        """``x`` as a tensor of the layer's dtype, the layer built, shape and values checked."""
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        return self._checked(x, self.event_shape)

    def prepare_output(self, y):
        """The same for a point of the latent side."""
        y = as_tensor(y, self.compute_dtype)
        if not self.built:
            self.build(self.compute_input_shape(y.shape))
        return self._checked(y, self.output_event_shape())

    def _checked(self, x, event_shape):
        if event_shape is not None and tuple(x.shape[1:]) != tuple(event_shape):
            raise ValueError(
                f"{self.name} was built for samples of shape {tuple(event_shape)}; received a "
                f"batch of shape {tuple(x.shape)}. Give [batch, …] with that sample shape, or "
                "make a new layer for the new shape."
            )
        return require_finite(
            x, f"{self.name} received NaN or Inf in a batch of shape {tuple(x.shape)}. {REMEDY}"
        )


class ClosedForm(Invertible):
    """A layer whose inverse is a formula.

    A subclass gives `transform`, `closed_form` and `inverse_lipschitz_bound`.
    """

    def closed_form(self, y):
        """``(F⁻¹(y), …)`` at a prepared ``y``, with what was added up to it, if anything."""
        raise NotImplementedError

    def invert(self, y, **condition):
        return InverseResult.exact(*self.closed_form(y, **condition))

    def preimage(self, y, **condition):
        return self.closed_form(y, **condition)[0]


def require_finite(x, message):
    """``x``; an error where the sum of a sample is NaN or Inf, as it is where an element is.

    (Or where the sum alone overflows, which no log-density would survive.)
    """
    # Checked element by element, x would cost several times its sum.
    sums = tf.reduce_sum(x, list(range(1, x.shape.rank)))
    with tf.control_dependencies([tf.debugging.assert_all_finite(sums, message)]):
        return tf.identity(x)


def as_tensor(x, dtype):
    """``x`` as a tensor of ``dtype``, whatever it was."""
    if isinstance(x, keras.KerasTensor):
        raise ValueError(
            "This method takes arrays or tensors, not a symbolic Keras input; call the layer "
            "itself inside a functional model."
        )
    return tf.cast(tf.convert_to_tensor(x), dtype)


def require_tolerance(tolerance):
    """``tolerance``, if it is a positive number or ``None``."""
    if tolerance is not None and not tolerance > 0.0:
        raise ValueError(
            f"tolerance is a positive number, or None for the solver's own; received {tolerance!r}."
        )
    return tolerance


def random_seed(shape, dtype=None):
    """Fresh generator state, ``int32``; it follows `keras.utils.set_random_seed`."""
    del dtype
    return tf.constant(np.random.randint(0, 2**31 - 1, shape), tf.int32)
