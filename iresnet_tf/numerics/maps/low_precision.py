"""Maps that compute in bfloat16, for training steps."""

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Callable

import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.maps.activations import Elementwise
from iresnet_tf.numerics.maps.base import InDtype, Map
from iresnet_tf.numerics.maps.chain import Composition
from iresnet_tf.numerics.maps.derived import derived
from iresnet_tf.numerics.maps.fused import Fused
from iresnet_tf.numerics.maps.operators import Operator
from iresnet_tf.numerics.maps.rounding import dither_offset, dithered


def in_bfloat16(g: Map, seed: tf.Tensor) -> Map:
    """Returns a float32 map that computes in bfloat16 from its first product to its last.

    Factors and results of the products with kernels, and the vectors between them, are in
    bfloat16.  Sums inside a product and activations are computed in float32 and then rounded.
    Each kernel is cast here, once for all products, and `dithered`, so that its expectation is the
    original.  With rounding to nearest, all steps would have the gradient of the same wrong kernel.
    Biases are added in float32, and sums with them and values of activations are `dithered`, too.
    Maps that cannot compute in bfloat16, such as functions that are differentiated automatically,
    compute in float32.

    Args:
        g: the map.
        seed: stateless seed of the rounding, the same for all parts of a batch.

    Source: Gupta et al. 2015 (arXiv:1502.02551), §2, for stochastic rounding.
    """
    low = derived(g).rounded(_Dithering(seed))
    return g if isinstance(low, InDtype) else InDtype(low, "bfloat16")


def operator_in_bfloat16(operator: Operator) -> Operator:
    """Returns an operator whose products have factors and results in bfloat16.

    Its kernel is rounded to the nearest, so it is the same one at each call.  Where such products
    would save no time, it is the operator itself: see `rounds_products_to_nearest`.
    """
    if not rounds_products_to_nearest():
        return operator
    return LowPrecision(tf.cast(operator.kernel, tf.bfloat16), _form(operator))


_IDENTITY = Elementwise("linear")
"""The function of a `Fused` that only adds a bias; a linear activation of a user is another one."""


class _Dithering:
    """Rounds each kernel, and the values of each activation, with another offset."""

    def __init__(self, seed):
        self._seed = seed
        self._numbers = itertools.count()

    def operator(self, operator):
        kernel = dithered(operator.kernel, dither_offset(self._next_seed()))
        return LowPrecision(kernel, _form(operator))

    def bias(self, bias):
        return Fused(_IDENTITY, dither_offset(self._next_seed()), bias)

    def activation(self, function):
        return Fused(function, dither_offset(self._next_seed()))

    def between_casts(self, function):
        return InDtype(function, "float32", dither_offset(self._next_seed()))

    def joined(self, parts):
        """Adds a bias in the pass of the activation that follows it."""
        joined: list = []
        for part in parts:
            inner = part.maps if isinstance(part, Composition) else (part,)
            for each in inner:
                if isinstance(each, Fused) and joined and _is_bias(joined[-1]):
                    each = dataclasses.replace(each, bias=joined.pop().bias)
                joined.append(each)
        return tuple(joined)

    def _next_seed(self):
        return random.fold_in(self._seed, next(self._numbers))


def _form(operator):
    return dataclasses.replace(operator, kernel=None)


def _is_bias(part):
    return isinstance(part, Fused) and part.activation is _IDENTITY


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
        return self._rounded(self._operator().adjoint, u, u.dtype)

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
