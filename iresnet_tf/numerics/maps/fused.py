"""Activations in bfloat16, computed in one pass over memory."""

import functools

import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla
from iresnet_tf.numerics.maps.base import Linearization, Map, diagonal
from iresnet_tf.numerics.structure import Signature, tensors_of


class Fused(Map):
    """An elementwise ``φ`` for ``x`` in bfloat16, with its value and derivative rounded to that.

    All between is computed in float32.  TensorFlow would take a pass over memory for each sum and
    product, so XLA compiles the function and its gradient, unless there is a GPU.

    Attributes:
        activation: ``φ``, a map whose Jacobian is diagonal and whose tensors are scalars.
    """

    activation: Map

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self._outputs(x, False)[0]

    def linearize(self, x: tf.Tensor) -> Linearization:
        return diagonal(*self._outputs(x, True))

    def takes_any_grid(self) -> bool:
        return self.activation.takes_any_grid()

    def _outputs(self, x, with_derivative):
        # XLA adds up the gradient of a scalar one term after the other, which loses digits.  So
        # each sample has a scalar of its own, and TensorFlow adds up the gradients of the samples.
        shape = tf.concat([tf.shape(x)[:1], tf.ones([x.shape.rank - 1], tf.int32)], 0)
        scalars = [tf.broadcast_to(scalar, shape) for scalar in tensors_of(self.activation)]
        return _compiled(Signature(self.activation), with_derivative)(x, *scalars)


@functools.lru_cache(maxsize=256)
def _compiled(signature, with_derivative):
    def outputs(x, *scalars):
        activation, wide = signature.rebuild(scalars), tf.cast(x, tf.float32)
        if not with_derivative:
            return (tf.cast(activation(wide), x.dtype),)
        found = activation.linearize(wide)
        return tf.cast(found.value, x.dtype), tf.cast(found.jvp(tf.ones_like(wide)), x.dtype)

    def gradients(inputs, cotangents):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            found = outputs(*inputs)
        return tape.gradient(found, inputs, cotangents, unconnected_gradients="zero")

    forward, backward = (
        tf.function(each, autograph=False, jit_compile=True) for each in (outputs, gradients)
    )

    @tf.custom_gradient
    def differentiable(*inputs):
        if is_traced_for_xla() or tf.config.list_physical_devices("GPU"):
            return outputs(*inputs), lambda *cotangents: gradients(inputs, cotangents)
        return forward(*inputs), lambda *cotangents: backward(inputs, cotangents)

    return differentiable
