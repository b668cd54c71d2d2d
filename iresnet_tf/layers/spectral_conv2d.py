"""A convolution of bounded norm."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.spectral import SpectralLayer, input_channels, required
from iresnet_tf.numerics import maps
from iresnet_tf.numerics.maps import Operator
from iresnet_tf.numerics.norms import norm_bounds

UNROLLED_PIXELS, UNROLLED_CHANNELS = 16, 256
"""Largest numbers of pixels, and of pairs of channels, for one matrix instead of a convolution.

On a 4×4 grid the matrix is as quick for 4 → 64 channels and twice as quick for 64 → 4; with more
pixels or channels the convolution is quicker (``benchmarks/unrolled_convolution.py``).
"""


@keras.saving.register_keras_serializable("iresnet_tf")
class SpectralConv2D(SpectralLayer):
    """``x ↦ x ⋆ K̂ + b``, stride 1, zero-padded to the same size, ``‖A_K̂‖ ≤ coeff``.

    The norm, spectral or another, is that of the operator on the layer's grid with zero padding,
    not that of the flattened kernel.  A 1×1 kernel is applied as a matrix at every pixel.

    Args:
        filters: number of output channels; ``None`` for the last layer of a `Contraction`, which
            sets it to the number of the contraction's input channels.
        kernel_size: an integer or a pair.
        coeff, **kwargs: see `SpectralLayer`.

    Shapes: ``[batch, height, width, in] → [batch, height, width, filters]``; height and width
    must be known when the layer is built.  ``kernel`` is the weight before the constraint,
    ``[kernel height, kernel width, in, filters]``.

    Raises:
        ValueError: for ``coeff`` outside (0, 1), ``filters`` or ``kernel_size`` below 1, another
            input rank, or an unknown grid.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), eq. 8; Gouk et al. 2018.
    """

    event_ndims = 3

    def __init__(
        self,
        filters: int | None = None,
        kernel_size: int | tuple[int, int] = 3,
        coeff: float | None = 0.9,
        **kwargs,
    ) -> None:
        super().__init__(coeff=coeff, **kwargs)
        if filters is not None and filters < 1:
            raise ValueError(f"filters is at least 1; received {filters!r}.")
        size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(
                f"kernel_size is a positive integer or a pair of them; received {kernel_size!r}."
            )
        self.filters = filters
        self.kernel_size = size

    def build(self, input_shape: tuple) -> None:
        if len(input_shape) != 4 or None in tuple(input_shape[1:3]):
            raise ValueError(
                f"{self.name} takes [batch, height, width, channels] with a known height and "
                f"width, because the operator's norm depends on them; received shape "
                f"{tuple(input_shape)}."
            )
        self.filters = required("filters", self.filters, self.name)
        self.grid = tuple(input_shape[1:3])
        self.input_spec = keras.layers.InputSpec(shape=(None, *input_shape[1:]))
        self.add_weights((*self.kernel_size, input_channels(input_shape, self.name), self.filters))

    def set_width(self, channels: int) -> None:
        self.filters = channels if self.filters is None else self.filters

    def make_operator(self, kernel: tf.Tensor) -> Operator:
        if self.kernel_size == (1, 1):
            return maps.Dense(tf.reshape(kernel, kernel.shape[2:]))
        return maps.Convolution(kernel)

    def unrolled_grid(self) -> tuple[int, int] | None:
        pixels, channels = self.grid[0] * self.grid[1], math.prod(self.kernel.shape[2:])
        is_small = 1 < pixels <= UNROLLED_PIXELS and channels <= UNROLLED_CHANNELS
        return self.grid if is_small and self.kernel_size != (1, 1) else None

    def vector_shape(self) -> tuple[int, ...]:
        # A 1×1 convolution has the spectral norm of its matrix at one pixel.
        grid = (1, 1) if self.kernel_size == (1, 1) and self.is_euclidean() else self.grid
        return (1, *grid, self.kernel.shape[2])

    def certified_spectral_norm(self, kernel: np.ndarray) -> float:
        return norm_bounds.convolution_norm(kernel, self.grid)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}
