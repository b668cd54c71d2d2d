"""Provides Adam and Adamax with one operation for each variable.

TensorFlow's fused kernels take the steps of Keras's optimizers, up to rounding.  The graph of a
training step then has about twenty fewer nodes for each variable, which halves the graph of a
network of many layers.  A sparse gradient is converted to a dense one: if it contains a row twice,
the two values are added before they are squared.

Source: Kingma and Ba 2015 (arXiv:1412.6980), algorithms 1 and 2.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.internals import PreparedOptimizer, adam_moments, adamax_moments


class _Fused(PreparedOptimizer):
    """The base class of both optimizers, which adds scalars to the graph once for all variables.

    Attributes:
        KERNEL: the operation of TensorFlow.
        POWERS: names of the kernel's arguments ``βᵗ``.

    Raises:
        ValueError: in a step, for variables of half precision, which would round small steps to
            zero.
    """

    KERNEL: Callable
    POWERS: tuple[str, ...]

    def prepare_step(
        self, variables: Sequence[keras.Variable], learning_rate: tf.Tensor
    ) -> dict[str, dict[str, tf.Tensor]]:
        step = tf.cast(self.iterations + 1, tf.float64)
        rate = self._corrected(tf.cast(learning_rate, tf.float64), step)
        scalars = {"lr": rate, "beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon}
        # The learning rate includes the bias corrections, so the kernel gets 0 for each βᵗ.
        scalars |= {power: 0.0 for power in self.POWERS}
        dtypes = {keras.backend.standardize_dtype(variable.dtype) for variable in variables}
        if not dtypes <= {"float32", "float64"}:
            name = type(self).__name__
            raise ValueError(
                f"The fused {name} trains variables of float32 and float64; received "
                f"{', '.join(sorted(dtypes))}. Take keras.optimizers.{name}."
            )
        return {
            dtype: {name: tf.cast(scalar, dtype) for name, scalar in scalars.items()}
            for dtype in dtypes
        }

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, shared: dict[str, Any]
    ) -> None:
        index = self.index_of(variable)
        m, v = (moments[index].value.handle for moments in self._moments())
        gradient = tf.cast(gradient, variable.dtype)
        self.KERNEL(var=variable.handle, m=m, v=v, grad=gradient, **shared[variable.dtype.name])

    def _corrected(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate ``ηₜ`` that multiplies ``m``."""
        raise NotImplementedError

    def _moments(self) -> tuple[list, list]:
        """Returns the lists of first and of second moments, in the order of the variables."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("iresnet_tf")
class Adam(_Fused, keras.optimizers.Adam):
    """``m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  θ ← θ − ηₜ m / (√v + ε)``

    with ``ηₜ = η √(1 − β₂ᵗ) / (1 − β₁ᵗ)``: the steps of `keras.optimizers.Adam`.

    Raises:
        ValueError: for ``amsgrad``, for which there is no kernel.
    """

    KERNEL = staticmethod(tf.raw_ops.ResourceApplyAdam)
    POWERS = ("beta1_power", "beta2_power")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError("The fused Adam has no amsgrad: take keras.optimizers.Adam.")

    def _corrected(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        return rate * tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)

    def _moments(self) -> tuple[list, list]:
        return adam_moments(self)


@keras.saving.register_keras_serializable("iresnet_tf")
class Adamax(_Fused, keras.optimizers.Adamax):
    """``m ← β₁ m + (1 − β₁) g,  u ← max(β₂ u, |g|),  θ ← θ − ηₜ m / (u + ε)``

    with ``ηₜ = η / (1 − β₁ᵗ)``: the steps of `keras.optimizers.Adamax`.
    """

    KERNEL = staticmethod(tf.raw_ops.ResourceApplyAdaMax)
    POWERS = ("beta1_power",)

    def _corrected(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        return rate / (1.0 - self.beta_1**step)

    def _moments(self) -> tuple[list, list]:
        return adamax_moments(self)
