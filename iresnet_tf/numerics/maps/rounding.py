"""Conversions between float32 and bfloat16, made of integers.

A bfloat16 has the upper 16 bits of a float32.  So rounding adds a number to the lower 16 bits and
drops them.  XLA makes one pass over memory of that, where its own conversion takes twice as long.
"""

import functools

import numpy as np
import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla
from iresnet_tf.numerics import random

_GOLDEN = 40503
"""``2¹⁶ (√5 − 1)/2``, rounded to an odd number: its multiples modulo 2¹⁶ are evenly spread."""


@tf.custom_gradient
def widened(x: tf.Tensor) -> tf.Tensor:
    """Returns bfloat16 numbers in float32; the gradient is rounded to bfloat16."""
    return tf.cast(x, tf.float32), narrowed


@tf.custom_gradient
def narrowed(x: tf.Tensor) -> tf.Tensor:
    """Returns float32 numbers rounded to the nearest bfloat16, of two to the even one.

    NaN stays NaN if its lower 16 bits are zero, as in every NaN that comes of bfloat16 numbers.
    """
    return _nearest(x) if is_traced_for_xla() else tf.cast(x, tf.bfloat16), widened


def _nearest(x):
    word = tf.bitcast(x, tf.uint32)
    odd = tf.bitwise.bitwise_and(tf.bitwise.right_shift(word, np.uint32(16)), np.uint32(1))
    return _upper_half(word + odd + np.uint32(0x7FFF))


@tf.custom_gradient
def dithered(x: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Returns float32 numbers rounded to bfloat16, up or down with ``x`` as the expectation.

    The upper half of ``x + (40503 i + offset) mod 2¹⁶`` is kept, where ``i`` is the index of an
    element, and numbers mean bits.  Rounding to the nearest would shift the mean of an activation:
    it maps bfloat16 numbers to other numbers, and each of those is always rounded to the same side.
    The gradient is that of a cast.

    Args:
        x: any shape; see `narrowed` for NaN.
        offset: see `dither_offset`.
    """
    is_direct = is_traced_for_xla() or tf.config.list_physical_devices("GPU")
    function = _dithered if is_direct else _dithered_in_one_pass(tuple(x.shape))
    return function(x, offset), lambda cotangent: (tf.cast(cotangent, x.dtype), None)


def dither_offset(seed: tf.Tensor) -> tf.Tensor:
    """Returns an integer from 0 to 2¹⁶ − 1, uniform, as a float32 scalar."""
    return tf.floor(2.0**16 * random.uniform([], random.unplaced(seed), tf.float32))


def _dithered(x, offset):
    index = tf.cast(tf.reshape(tf.range(tf.size(x)), tf.shape(x)), tf.uint32)
    added = index * np.uint32(_GOLDEN) + tf.cast(offset, tf.uint32)
    added = tf.bitwise.bitwise_and(added, np.uint32(0xFFFF))
    return _upper_half(tf.bitcast(x, tf.uint32) + added)


def _upper_half(word):
    half = tf.cast(tf.bitwise.right_shift(word, np.uint32(16)), tf.uint16)
    return tf.bitcast(half, tf.bfloat16)


@functools.lru_cache(maxsize=256)
def _dithered_in_one_pass(shape):
    # A function for each shape, because TensorFlow warns of one that is traced for many.
    return tf.function(_dithered, autograph=False, jit_compile=True)
