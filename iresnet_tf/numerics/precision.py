"""Converts bounds without rounding them towards the wrong side."""

import numpy as np
import tensorflow as tf


def as_float64(number: float | tf.Tensor) -> tf.Tensor:
    """Returns a number or tensor in float64; a Python number does not pass through float32."""
    if tf.is_tensor(number):
        return tf.cast(number, tf.float64)
    return tf.constant(number, tf.float64)


def rounded_up(bound: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns a non-negative float64 bound in that dtype, never below what it was."""
    dtype = tf.as_dtype(dtype)
    if dtype == tf.float64:
        return bound
    number = np.finfo(dtype.as_numpy_dtype)
    # A cast rounds to nearest: by half an ulp, or to zero below the smallest normal number.
    return tf.cast(bound * (1.0 + 2.0 * float(number.eps)) + float(number.tiny), dtype)
