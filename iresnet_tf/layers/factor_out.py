"""The multi-scale structure, in which half of the channels leave the flow early."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.layers.flatten import ToVector
from iresnet_tf.layers.inversion import InverseResult
from iresnet_tf.layers.invertible import Invertible
from iresnet_tf.layers.stack import Stack
from iresnet_tf.numerics import random
from iresnet_tf.numerics.precision import as_float64


@keras.saving.register_keras_serializable("iresnet_tf")
class FactorOut(ToVector):
    """``F(a, b) = (a, R(b))``: the first half of the channels is latent, ``R`` maps the rest.

    ``log_det F = log_det R``.  ``R`` may end with another `FactorOut`, for more scales.

    Args:
        rest: invertible layers, data side first, or a `Stack` of them.

    Shapes: ``[batch, …, channels] → [batch, D]``, the flattened first half and then the flattened
    latent of ``R``.

    Raises:
        ValueError: for fewer than two channels, or a rest that is not invertible.

    Source: Dinh et al. 2017 (arXiv:1605.08803), §3.6.
    """

    def __init__(self, rest: Stack | Sequence[Invertible], **kwargs) -> None:
        rest = rest if isinstance(rest, Stack) else Stack(rest)
        kwargs.setdefault("dtype", rest.dtype_policy.name)
        super().__init__(**kwargs)
        self.rest = rest

    @property
    def parts(self) -> Sequence[Invertible]:
        return (self.rest,)

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """The shape of one context; ``None`` if the rest is not conditional."""
        return self.rest.context_shape

    def _expected_event_ndims(self):
        return self.rest.event_ndims

    def build(self, input_shape: tuple) -> None:
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

    def call(
        self, x: tf.Tensor, training: bool = False, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        early, late = self._split(x)
        return self._joined(early, self.rest(late, training=training, context=context))

    def is_initialized(self) -> bool:
        return self.rest.is_initialized()

    def initialize(self, x: Any, *, context: Any = None) -> None:
        self.rest.initialize(self._split(self._prepare(x))[1], context=context)

    def _forward_and_log_det(self, x, *, seed, context):
        early, late = self._split(x)
        late, seed = self.rest._prepare(late), random.fold_in(seed, 0)
        late, log_det = self.rest._forward_and_log_det(late, seed=seed, context=context)
        return self._joined(early, late), log_det

    def _block_tolerance(self, tolerance):
        return self.rest._block_tolerance(tolerance)

    def _inverse(self, y, options):
        early, late = self._parted(y)
        result = self.rest._inverse(self.rest._prepare_output(late), options)
        return InverseResult(tf.concat([early, result.x], -1), *result[1:])

    def _inverse_point(self, y, options):
        early, late = self._parted(y)
        return tf.concat([early, self.rest._inverse_point(late, options)], -1)

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        """Returns the bound of the rest, at least 1 for the channels that leave."""
        return tf.maximum(as_float64(1.0), as_float64(self.rest.inverse_lipschitz_bound()))

    def _part_inputs(self, x, context=None):
        yield self.rest, self._split(x)[1]

    def _last_latent(self, y):
        return self.rest._last_latent(self._parted(y)[1])

    def _last_latent_shape(self):
        return self.rest._last_latent_shape()

    def _split(self, x):
        return tf.split(x, [self.channels, x.shape[-1] - self.channels], -1)

    def _joined(self, early, late):
        return tf.concat([_flat(early, self.early_shape), _flat(late, self.late_shape)], -1)

    def _parted(self, y):
        size = tf.TensorShape(self.early_shape).num_elements()
        early = tf.reshape(y[:, :size], [-1, *self.early_shape])
        return early, tf.reshape(y[:, size:], [-1, *self.late_shape])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rest": keras.saving.serialize_keras_object(self.rest)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "rest": keras.saving.deserialize_keras_object(config["rest"])})


def _flat(x, event_shape):
    return tf.reshape(x, [-1, tf.TensorShape(event_shape).num_elements()])
