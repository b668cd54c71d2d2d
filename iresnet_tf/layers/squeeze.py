"""Space to depth."""

import keras
import tensorflow as tf

from iresnet_tf.layers.invertible import InverseResult, Invertible


@keras.saving.register_keras_serializable("iresnet_tf")
class Squeeze(Invertible):
    """``[batch, h, w, c] → [batch, h/2, w/2, 4c]``: each 2×2 patch becomes channels.

    A permutation of the elements, so ``log_det = 0``.

    Raises:
        ValueError: for another rank, or an odd or unknown height or width.

    Source: Dinh et al. 2017 (arXiv:1605.08803), §3.6.
    """

    event_ndims = 3

    def build(self, input_shape):
        height_and_width = tuple(input_shape[1:3])
        if len(input_shape) != 4 or None in tuple(input_shape[1:]) or any(
            side % 2 for side in height_and_width
        ):
            raise ValueError(
                f"{self.name} halves height and width, so both must be even and known: "
                f"[batch, height, width, channels]; received {tuple(input_shape)}. Pad or crop "
                "the images first."
            )
        super().build(input_shape)

    def call(self, x):
        return tf.nn.space_to_depth(x, 2)

    def transform(self, x, seed):
        del seed
        return self.call(x), tf.zeros(tf.shape(x)[:1], x.dtype)

    def prepare_output(self, y):
        if not self.built:
            height, width, channels = y.shape[1:]
            self.build((None, 2 * height, 2 * width, channels // 4))
        return super().prepare_output(y)

    def output_event_shape(self):
        height, width, channels = self.event_shape
        return (height // 2, width // 2, 4 * channels)

    def invert(self, y):
        return InverseResult.exact(tf.nn.depth_to_space(y, 2))

    def inverse_lipschitz_bound(self):
        """1."""
        return 1.0

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height // 2, width // 2, 4 * channels)
