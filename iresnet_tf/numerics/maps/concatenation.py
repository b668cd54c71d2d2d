"""The concatenation of maps, and products with a number."""

import functools

import tensorflow as tf

from iresnet_tf.numerics.maps.base import Linearization, Map, Rounding


class Scaling(Map):
    """``x ↦ a x`` with a scalar ``factor`` ``a``."""

    factor: tf.Tensor

    def linearize(self, x: tf.Tensor) -> Linearization:
        def product_in(dtype):
            return functools.partial(tf.multiply, tf.cast(self.factor, dtype))

        return Linearization(self.factor * x, product_in(x.dtype), product_in)

    def takes_any_grid(self) -> bool:
        return True

    def rounded(self, rounding: Rounding) -> Map:
        return rounding.activation(self)


class Concatenation(Map):
    """``x ↦ [m_1(x), …, m_K(x)]`` on the channels; ``Lip ≤ √(Σ Lip(m_k)²)``."""

    maps: tuple[Map, ...]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.concat([part(x) for part in self.maps], -1)

    def linearize(self, x: tf.Tensor) -> Linearization:
        parts = [part.linearize(x) for part in self.maps]
        channels = [part.value.shape[-1] for part in parts]

        def jvp(v):
            return _joined([part.jvp(v) for part in parts])

        def vjp_in(dtype):
            products = [part.vjp_in(dtype) for part in parts]

            def vjp(w):
                pieces = tf.split(w, channels, axis=-1)
                return tf.add_n([product(piece) for product, piece in zip(products, pieces)])

            return vjp

        return Linearization(tf.concat([part.value for part in parts], -1), jvp, vjp_in)

    def rounding_error(self, x: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        return tf.add_n([part.rounding_error(x, part(x)) for part in self.maps])

    def multiplications(self, pixels: int) -> int:
        return sum(part.multiplications(pixels) for part in self.maps)

    def takes_any_grid(self) -> bool:
        return all(part.takes_any_grid() for part in self.maps)

    def rounded(self, rounding: Rounding) -> Map:
        return Concatenation(tuple(part.rounded(rounding) for part in self.maps))


def _joined(images):
    leading = [image.shape.as_list()[:-1] for image in images]
    if any(each != leading[0] for each in leading):
        # The vectors of a basis have batch 1 until an activation multiplies them.
        full = functools.reduce(tf.maximum, [tf.shape(image)[:-1] for image in images])
        shapes = [tf.concat([full, image.shape[-1:]], 0) for image in images]
        images = list(map(tf.broadcast_to, images, shapes))
    return tf.concat(images, -1)
