"""Squeezing of images: space to depth."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from iresnet_tf.layers.invertible import ClosedForm
from iresnet_tf.numerics.axes import batch_shape


@keras.saving.register_keras_serializable("iresnet_tf")
class Squeeze(ClosedForm):
    """``[batch, h, w, c] → [batch, h/2, w/2, 4c]``: each 2×2 patch becomes channels.

    It permutes the elements, so ``log_det = 0``.

    Raises:
        ValueError: for another rank, or an odd or unknown height or width.

    Source: Dinh et al. 2017 (arXiv:1605.08803), §3.6.
    """

    def _expected_event_ndims(self):
        return 3

    def build(self, input_shape: tuple) -> None:
        self.compute_output_shape(input_shape)  # refuses other shapes
        super().build(input_shape)

    def _forward_and_log_det(self, x, *, seed, context):
        return tf.nn.space_to_depth(x, 2), tf.zeros(batch_shape(x), x.dtype)

    def _closed_form(self, y, *, context):
        return (tf.nn.depth_to_space(y, 2),)

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        return 1.0

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        shape = tuple(input_shape)
        if len(shape) != 4 or None in shape[1:] or shape[1] % 2 or shape[2] % 2:
            raise ValueError(
                f"{self.name} halves height and width, so both must be even and known: "
                f"[batch, height, width, channels]; received {shape}. Pad or crop "
                "the images first."
            )
        batch, height, width, channels = shape
        return (batch, height // 2, width // 2, 4 * channels)

    def compute_input_shape(self, output_shape: Sequence) -> tuple:
        shape = tuple(output_shape)
        if len(shape) != 4 or None in shape[1:] or shape[3] % 4:
            raise ValueError(
                f"{self.name} inverts images of 4c channels: [batch, height, width, 4c]; received "
                f"{shape}."
            )
        return (shape[0], 2 * shape[1], 2 * shape[2], shape[3] // 4)
