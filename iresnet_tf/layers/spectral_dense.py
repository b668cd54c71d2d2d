"""A dense layer of bounded norm."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.spectral import SpectralLayer, input_channels, required
from iresnet_tf.numerics import maps
from iresnet_tf.numerics.maps import Operator
from iresnet_tf.numerics.norms import norm_bounds


@keras.saving.register_keras_serializable("iresnet_tf")
class SpectralDense(SpectralLayer):
    """``x ↦ x K̂ + b`` with ``‖K̂‖ ≤ coeff``, in the spectral norm or another.

    Args:
        units: number of output features; ``None`` for the last layer of a `Contraction`, which
            sets it to the number of the contraction's input features.
        coeff, **kwargs: see `SpectralLayer`.

    Shapes: ``[batch, …, in] → [batch, …, units]``.

    Raises:
        ValueError: for ``coeff`` outside (0, 1) or ``units`` below 1.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), eq. 8; Miyato et al. 2018.
    """

    event_ndims = 1

    def __init__(self, units: int | None = None, coeff: float | None = 0.9, **kwargs) -> None:
        super().__init__(coeff=coeff, **kwargs)
        if units is not None and units < 1:
            raise ValueError(f"units is at least 1; received {units!r}.")
        self.units = units

    def build(self, input_shape: tuple) -> None:
        self.units = required("units", self.units, self.name)
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})
        self.add_weights((input_channels(input_shape, self.name), self.units))

    def set_width(self, channels: int) -> None:
        self.units = channels if self.units is None else self.units

    def make_operator(self, kernel: tf.Tensor) -> Operator:
        return maps.Dense(kernel)

    def vector_shape(self) -> tuple[int, ...]:
        return (1, self.kernel.shape[0])

    def certified_spectral_norm(self, kernel: np.ndarray) -> float:
        return norm_bounds.dense_norm(kernel)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
