"""The concatenation of a map and the identity."""

import tensorflow as tf

from iresnet_tf.numerics.maps.base import Linearization, Map, Rounding


class Concatenation(Map):
    """``x ↦ [a x, b f(x)]`` on the channels; ``Lip ≤ √(a² + b² Lip(f)²)``.

    Attributes:
        function: ``f``, which may change the number of channels.
        identity_weight, function_weight: scalar tensors ``a`` and ``b``.
    """

    function: Map
    identity_weight: tf.Tensor
    function_weight: tf.Tensor

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self._joined(x, self.function(x))

    def linearize(self, x: tf.Tensor) -> Linearization:
        inner = self.function.linearize(x)
        channels = [x.shape[-1], inner.value.shape[-1]]

        def jvp(v):
            image = inner.jvp(v)
            # The vectors of a basis have batch 1 until an activation multiplies them.
            full = tf.concat([tf.shape(image)[:-1], channels[:1]], 0)
            return self._joined(tf.broadcast_to(v, full), image)

        def vjp_in(dtype):
            a, b = tf.cast(self.identity_weight, dtype), tf.cast(self.function_weight, dtype)
            product = inner.vjp_in(dtype)

            def vjp(w):
                upper, lower = tf.split(w, channels, axis=-1)
                return a * upper + product(b * lower)

            return vjp

        return Linearization(self._joined(x, inner.value), jvp, vjp_in)

    def rounding_error(self, x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Adds the rounding of ``f``, whose weight is at most one, to that of the products."""
        inner = self.function.rounding_error(x, self.function(x))
        return inner + super().rounding_error(x, value)

    def multiplications(self, pixels: int) -> int:
        return self.function.multiplications(pixels)

    def takes_any_grid(self) -> bool:
        return self.function.takes_any_grid()

    def rounded(self, rounding: Rounding) -> Map:
        weights = map(rounding.tensor, (self.identity_weight, self.function_weight))
        return Concatenation(self.function.rounded(rounding), *weights)

    def _joined(self, x, image):
        return tf.concat([self.identity_weight * x, self.function_weight * image], -1)
