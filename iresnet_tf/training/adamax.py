"""Keras's Adamax, in one operation a variable."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("iresnet_tf")
class Adamax(keras.optimizers.Adamax):
    """``m ← β₁ m + (1 − β₁) g,  u ← max(β₂ u, |g|),  θ ← θ − η / (1 − β₁ᵗ) · m / (u + ε)``.

    The same step as `keras.optimizers.Adamax`, to rounding, by TensorFlow's fused kernel: the
    graph of a training step is smaller by some twenty nodes a variable, which with a network of
    many layers is half of it.

    Source: Kingma and Ba 2015 (arXiv:1412.6980), algorithm 2.
    """

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # What is the same for all variables stands in the graph once.
        step = tf.cast(self.iterations + 1, tf.float64)
        rate = tf.cast(learning_rate, tf.float64) / (1.0 - self.beta_1**step)
        scalars = rate, self.beta_1, self.beta_2, self.epsilon, 0.0
        dtypes = {keras.backend.standardize_dtype(each.dtype) for each in trainable_variables}
        shared = {dtype: [tf.cast(each, dtype) for each in scalars] for dtype in dtypes}
        super()._backend_update_step(grads, trainable_variables, shared)

    def update_step(self, gradient, variable, shared):
        index = self._get_variable_index(variable)
        rate, beta_1, beta_2, epsilon, corrected = shared[variable.dtype.name]
        tf.raw_ops.ResourceApplyAdaMax(
            var=variable.handle,
            m=self._m[index].value.handle,
            v=self._u[index].value.handle,
            beta1_power=corrected,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=gradient,
        )
