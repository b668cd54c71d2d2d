"""Maps whose products with kernels are computed in a lower precision."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.maps.base import Map
from iresnet_tf.numerics.maps.derived import derived
from iresnet_tf.numerics.maps.operators import Operator
from iresnet_tf.numerics.structure import replaced


def with_products_in_bfloat16(g: Map, seed: tf.Tensor) -> Map:
    """Returns a float32 map with the products of its operators in bfloat16.

    Each kernel is cast here, once for all products, and rounded up or down at random, so that its
    expectation is the kernel.  To nearest, all steps would have the gradient of the same other
    kernel.  Vectors are cast before each product and its result after it, so everything else
    keeps its dtype.  Functions that are differentiated automatically do not change.

    Args:
        g: the map.
        seed: stateless seed of the rounding, the same for all parts of a batch.

    Source: Gupta et al. 2015 (arXiv:1502.02551), §2, for stochastic rounding.
    """
    numbers = itertools.count()

    def lowered(operator):
        kernel = rounded_at_random(operator.kernel, random.fold_in(seed, next(numbers)))
        return LowPrecision(kernel, dataclasses.replace(operator, kernel=None))

    return replaced(derived(g), Operator, lowered)


def rounded_at_random(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns float32 numbers in bfloat16, each rounded to a neighbour with the expectation ``x``.

    The gradient is that of a cast.
    """
    # A bfloat16 has the upper 16 bits of a float32; the lower ones are the probability of the
    # neighbour that is farther from zero.
    draws = tf.reshape(random.short_integers(x.shape.num_elements(), seed), x.shape)
    sums = tf.bitcast(x, tf.uint32) + tf.cast(draws, tf.uint32)
    upper = tf.bitwise.bitwise_and(sums, np.uint32(0xFFFF0000))
    change = tf.bitcast(upper, tf.float32) - x
    return tf.cast(x + tf.stop_gradient(change), tf.bfloat16)


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
