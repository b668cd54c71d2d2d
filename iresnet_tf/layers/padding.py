"""Padding with channels of zeros, for classifiers with more latent than data dimensions."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers.invertible import ClosedForm
from iresnet_tf.numerics.options import require_integer


@keras.saving.register_keras_serializable("iresnet_tf")
class InjectivePadding(ClosedForm):
    """``x ↦ [x, 0]`` on the channels; the inverse drops the zeros.

    The map is one-to-one but not onto, so it has no log-determinant and serves only classification.
    The inverse of any latent point is the preimage of its first channels.

    Args:
        channels: number of channels of zeros.

    Shapes: ``[batch, …, c] → [batch, …, c + channels]``.

    Raises:
        ValueError: for fewer than one channel, and by `forward_and_log_det`.

    Source: Jacobsen et al. 2018 (arXiv:1802.07088); Behrmann et al. 2019, §4.1.
    """

    def __init__(self, channels: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.channels = require_integer("channels", channels)

    def call(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        return tf.pad(x, [[0, 0]] * (x.shape.rank - 1) + [[0, self.channels]])

    def _forward_and_log_det(self, x, *, seed, context):
        raise ValueError(
            f"{self.name} maps into a space of more dimensions than the data have, where the "
            "data have no density: there is no log-determinant. Leave the padding out of a "
            "density model."
        )

    def _closed_form(self, y, *, context):
        return (y[..., : -self.channels],)

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return 1.0

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] + self.channels)

    def compute_input_shape(self, output_shape: Sequence) -> tuple:
        return (*output_shape[:-1], output_shape[-1] - self.channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels}
