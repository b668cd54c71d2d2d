"""Maps whose products with kernels are computed in a lower precision."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from iresnet_tf.numerics.maps.base import Map
from iresnet_tf.numerics.maps.operators import Operator
from iresnet_tf.numerics.structure import replaced


def with_products_in(dtype: tf.DType, g: Map) -> Map:
    """Returns the map with the products of its operators in a lower dtype.

    Each kernel is cast here, once for all products.  Vectors are cast before each product and its
    result after it, so everything else, and every sum over a kernel's gradients in float32, keeps
    its dtype.  Functions that are differentiated automatically do not change.

    Args:
        dtype: for example bfloat16.
        g: a map of float32 tensors.
    """

    def lowered(operator):
        kernel = tf.cast(operator.kernel, dtype)
        return LowPrecision(kernel, dataclasses.replace(operator, kernel=None))

    return replaced(g, Operator, lowered)


class LowPrecision(Operator):
    """An operator whose products are computed in the dtype of its kernel, a lower precision.

    Attributes:
        kernel: that of the operator, in the lower dtype.
        form: the operator without its kernel.
    """

    kernel: tf.Tensor
    form: Operator

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._operator()(tf.cast(v, self.kernel.dtype)), v.dtype)

    def adjoint(self, u: tf.Tensor) -> tf.Tensor:
        return self.adjoint_in(u.dtype)(u)

    def adjoint_in(self, dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
        product = self._operator().adjoint_in(self.kernel.dtype)
        return lambda u: tf.cast(product(tf.cast(u, self.kernel.dtype)), dtype)

    def rounding_gain(self) -> float | tf.Tensor:
        raise ValueError(
            f"Products in {self.kernel.dtype.name} have no bound on their rounding here, because "
            "they are meant for training steps. Invert the map of the original kernel."
        )

    def multiplications(self, pixels: int) -> int:
        return self._operator().multiplications(pixels)

    def takes_any_grid(self) -> bool:
        return self.form.takes_any_grid()

    def _operator(self):
        return dataclasses.replace(self.form, kernel=self.kernel)
