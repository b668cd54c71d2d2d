"""Biases and activations in bfloat16, computed in one pass over memory."""

import functools

import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla
from iresnet_tf.numerics.maps.base import Linearization, Map, diagonal
from iresnet_tf.numerics.maps.rounding import dithered, widened
from iresnet_tf.numerics.maps.share import FirstRows
from iresnet_tf.numerics.structure import Rows, Signature, tensors_of


class Fused(Map):
    """``x ↦ φ(x + b)`` for ``x`` in bfloat16; value and derivative are `dithered` to bfloat16.

    All between is computed in float32.  TensorFlow would take a pass over memory for each sum and
    product, so XLA compiles the function and its gradient, unless there is a GPU.

    Attributes:
        activation: ``φ``, a map whose Jacobian is diagonal and whose tensors are scalars.
        offset: of the dithering.
        bias: ``b``, float32, one number for each channel.
    """

    activation: Map
    offset: tf.Tensor
    bias: tf.Tensor | None = None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self._outputs(x, None)[0]

    def linearize(self, x: tf.Tensor) -> Linearization:
        return diagonal(*self._outputs(x, tf.shape(x)[0]))

    def linearize_at(self, x: tf.Tensor, rows: Rows) -> tuple[tf.Tensor, Linearization]:
        if not isinstance(rows, FirstRows):
            return super().linearize_at(x, rows)
        value, derivative = self._outputs(x, tf.convert_to_tensor(rows.size))
        return value, diagonal(rows.of_rows(value), derivative)

    def takes_any_grid(self) -> bool:
        return self.activation.takes_any_grid()

    def _outputs(self, x, linearized):
        """Returns the value, and if a number of samples is given, the derivative at the first."""
        # XLA adds up the gradient of a scalar one term after the other, which loses digits.  So
        # each sample has a scalar of its own, and TensorFlow adds up the gradients of the samples.
        shape = tf.concat([tf.shape(x)[:1], tf.ones([x.shape.rank - 1], tf.int32)], 0)
        scalars = [tf.broadcast_to(scalar, shape) for scalar in tensors_of(self.activation)]
        bias = tf.zeros(x.shape[-1:]) if self.bias is None else self.bias
        compiled = _compiled(Signature(self.activation), linearized is not None)
        return compiled(x, bias, self.offset, 0 if linearized is None else linearized, *scalars)


@functools.lru_cache(maxsize=256)
def _compiled(signature, with_derivative):
    def outputs(x, bias, offset, linearized, *scalars):
        wide = widened(x) + bias
        value = dithered(signature.rebuild(scalars)(wide), offset)
        if not with_derivative:
            return (value,)
        first = signature.rebuild([scalar[:linearized] for scalar in scalars])
        wide = wide[:linearized]
        derivative = first.linearize(wide).jvp(tf.ones_like(wide))
        # Half of the range away, the errors of the two are not alike.
        return value, dithered(derivative, offset + 2.0**15)

    def gradients(x, bias, offset, linearized, scalars, cotangents):
        with tf.GradientTape() as tape:
            tape.watch([x, *scalars])
            found = outputs(x, bias, offset, linearized, *scalars)
        return tape.gradient(found, [x, *scalars], cotangents, unconnected_gradients="zero")

    forward, backward = (
        tf.function(each, autograph=False, jit_compile=True) for each in (outputs, gradients)
    )

    @tf.custom_gradient
    def differentiable(x, bias, offset, linearized, *scalars):
        is_direct = is_traced_for_xla() or tf.config.list_physical_devices("GPU")

        def gradient(*cotangents):
            function = gradients if is_direct else backward
            to_x, *to_scalars = function(x, bias, offset, linearized, scalars, cotangents)
            # A sum in bfloat16 would stop growing.
            to_bias = tf.raw_ops.BiasAddGrad(out_backprop=tf.cast(to_x, tf.float32))
            return to_x, to_bias, None, None, *to_scalars

        return (outputs if is_direct else forward)(x, bias, offset, linearized, *scalars), gradient

    return differentiable
