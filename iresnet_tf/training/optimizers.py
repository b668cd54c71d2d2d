"""Keras's Adam and Adamax, in one operation a variable.

The same steps to rounding, by TensorFlow's fused kernels: the graph of a training step is
smaller by some twenty nodes a variable, which with a network of many layers is half of it.
A sparse gradient counts as the dense one that it stands for: where it names a row twice, the
two add up before they are squared.

Source: Kingma and Ba 2015 (arXiv:1412.6980), algorithms 1 and 2.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from iresnet_tf.internals import PreparedOptimizer, adam_moments, adamax_moments


class _Fused(PreparedOptimizer):
    """What the two share: the step, and scalars that stand in the graph once for all variables.

    Raises:
        ValueError: in a step, for variables of half precision, which the kernels round away.
    """

    KERNEL: Callable
    """TensorFlow's operation."""

    POWERS: tuple[str, ...]
    """The kernel's arguments ``βᵗ``."""

    def prepare_step(self, variables, learning_rate):
        step = tf.cast(self.iterations + 1, tf.float64)
        rate = self._corrected(tf.cast(learning_rate, tf.float64), step)
        scalars = {"lr": rate, "beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon}
        # The rate has the corrections already: as if each βᵗ were 0.
        scalars |= {power: 0.0 for power in self.POWERS}
        dtypes = {keras.backend.standardize_dtype(each.dtype) for each in variables}
        if not dtypes <= {"float32", "float64"}:
            raise ValueError(
                f"The fused {type(self).__name__} steps variables of float32 and float64; received "
                f"{', '.join(sorted(dtypes))}. Take keras.optimizers.{type(self).__name__}."
            )
        return {
            dtype: {name: tf.cast(each, dtype) for name, each in scalars.items()}
            for dtype in dtypes
        }

    def update_step(self, gradient, variable, shared):
        index = self.index_of(variable)
        m, v = (each[index].value.handle for each in self._moments())
        gradient = tf.cast(gradient, variable.dtype)
        self.KERNEL(var=variable.handle, m=m, v=v, grad=gradient, **shared[variable.dtype.name])

    def _corrected(self, rate, step):
        """The rate ``ηₜ`` by which ``m`` is multiplied."""
        raise NotImplementedError

    def _moments(self):
        """Both of every variable."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("iresnet_tf")
class Adam(_Fused, keras.optimizers.Adam):
    """``m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  θ ← θ − ηₜ m / (√v + ε)``

    with ``ηₜ = η √(1 − β₂ᵗ) / (1 − β₁ᵗ)``: the steps of `keras.optimizers.Adam`.

    Raises:
        ValueError: for ``amsgrad``, which has no such kernel.
    """

    KERNEL = staticmethod(tf.raw_ops.ResourceApplyAdam)
    POWERS = ("beta1_power", "beta2_power")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError("The fused Adam has no amsgrad: take keras.optimizers.Adam.")

    def _corrected(self, rate, step):
        return rate * tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)

    def _moments(self):
        return adam_moments(self)


@keras.saving.register_keras_serializable("iresnet_tf")
class Adamax(_Fused, keras.optimizers.Adamax):
    """``m ← β₁ m + (1 − β₁) g,  u ← max(β₂ u, |g|),  θ ← θ − ηₜ m / (u + ε)``

    with ``ηₜ = η / (1 − β₁ᵗ)``: the steps of `keras.optimizers.Adamax`.
    """

    KERNEL = staticmethod(tf.raw_ops.ResourceApplyAdaMax)
    POWERS = ("beta1_power",)

    def _corrected(self, rate, step):
        return rate / (1.0 - self.beta_1**step)

    def _moments(self):
        return adamax_moments(self)
