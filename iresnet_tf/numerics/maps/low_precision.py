"""Maps that compute in bfloat16, for training steps."""

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.maps.base import InDtype, Map
from iresnet_tf.numerics.maps.derived import derived
from iresnet_tf.numerics.maps.operators import Operator


def in_bfloat16(g: Map, seed: tf.Tensor) -> Map:
    """Returns a float32 map that computes in bfloat16 from its first product to its last.

    Factors and results of the products with kernels, and the vectors between them, are in
    bfloat16.  Sums inside a product and activations are computed in float32 and then rounded.
    Each kernel and bias is cast here, once for all products, and rounded up or down at random, so
    that its expectation is the original.  With rounding to nearest, all steps would have the
    gradient of the same wrong kernel.  Maps that cannot compute in bfloat16, such as functions that
    are differentiated automatically, compute in float32.

    Args:
        g: the map.
        seed: stateless seed of the rounding, the same for all parts of a batch.

    Source: Gupta et al. 2015 (arXiv:1502.02551), §2, for stochastic rounding.
    """
    low = derived(g).rounded(_RandomRounding(seed))
    return g if isinstance(low, InDtype) else InDtype(low, "bfloat16")


class _RandomRounding:
    """Rounds each tensor with another seed."""

    def __init__(self, seed):
        self._seed = seed
        self._numbers = itertools.count()

    def operator(self, operator):
        return LowPrecision(
            self.tensor(operator.kernel), dataclasses.replace(operator, kernel=None)
        )

    def tensor(self, x):
        return rounded_at_random(x, random.fold_in(self._seed, next(self._numbers)))


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


@functools.cache
def rounds_products_to_nearest() -> bool:
    """Returns whether this machine rounds the result of a product in bfloat16 to the nearest.

    TensorFlow's kernels for a CPU without bfloat16 instructions round towards zero.  Their results
    are too small by up to 2⁻⁷ of their size, which biases gradients.

    Warns:
        UserWarning: if it does not, because bfloat16 saves no time there.
    """
    with tf.init_scope():
        # The exact result lies three quarters of the way to the next number.
        rows = tf.cast(tf.tile([[1.0, 0.75 * 2.0**-7]], [64, 1]), tf.bfloat16)
        product = tf.matmul(tf.ones_like(rows), rows, transpose_b=True)
        nearest = bool(tf.reduce_all(product == 1.0 + 2.0**-7))
    if not nearest:
        warnings.warn(
            "This machine truncates products in bfloat16, so they are computed in float32 and "
            "rounded: steps are not faster than without product_dtype='bfloat16'.",
            stacklevel=2,
        )
    return nearest


class LowPrecision(Operator):
    """An operator whose products have factors and results in the dtype of its kernel.

    They are computed in that dtype where the machine rounds it to the nearest, else in float32.

    Attributes:
        kernel: that of the operator, in the lower dtype.
        form: the operator without its kernel.
    """

    kernel: tf.Tensor
    form: Operator

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        return self._rounded(self._operator(), v, v.dtype)

    def adjoint(self, u: tf.Tensor) -> tf.Tensor:
        return self.adjoint_in(u.dtype)(u)

    def adjoint_in(self, dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
        operator = self._operator()
        product = operator.adjoint_in(operator.kernel.dtype)
        return lambda u: self._rounded(product, u, dtype)

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
        return dataclasses.replace(self.form, kernel=tf.cast(self.kernel, self._computed()))

    def _rounded(self, product, v, dtype):
        """Returns a product in ``dtype``, its vector and its result rounded to the lower one."""
        low = self.kernel.dtype
        result = product(tf.cast(tf.cast(v, low), self._computed()))
        return tf.cast(tf.cast(result, low), dtype)

    def _computed(self):
        return self.kernel.dtype if rounds_products_to_nearest() else tf.float32
