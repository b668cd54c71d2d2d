"""Checks and conversions of the arguments of a layer's methods."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.axes import event_axes
from iresnet_tf.numerics.options import require_positive

REMEDY = (
    "Clean the data, or lower the learning rate or clip the gradients (global_clipnorm=1 of the "
    "optimizer) if this happened while training."
)


def as_tensor(x: Any, dtype: Any) -> tf.Tensor:
    """Returns ``x`` as a tensor of that dtype.

    Raises:
        ValueError: for a symbolic Keras input, or masked values.
    """
    require_unmasked(x)
    if isinstance(x, keras.KerasTensor):
        raise ValueError(
            "This method takes arrays or tensors, not a symbolic Keras input; call the layer "
            "itself inside a functional model."
        )
    # Python numbers would become float32 on their way to float64.
    if isinstance(x, (bool, int, float, list, tuple)):
        x = np.asarray(x)
    return tf.cast(tf.convert_to_tensor(x), dtype)


def require_sample_shape(name: str, input_shape: tuple) -> None:
    """Raises `ValueError` in the name of a layer unless every axis but the batch is known."""
    if None in tuple(input_shape[1:]):
        raise ValueError(
            f"{name} needs the shape of a sample: every axis but the batch must be known; received "
            f"{tuple(input_shape)}. Give a batch, or an Input of fixed shape."
        )


def require_unmasked(x: Any) -> None:
    """Raises `ValueError` for an array with masked values, which would count as data."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(
            f"The data have no place for masked values; received an array of shape {x.shape} with "
            f"{np.ma.count_masked(x)} of them. Fill them, x.filled(value), or leave out their rows."
        )


def require_finite(x: tf.Tensor, message: str) -> tf.Tensor:
    """Returns ``x``; fails with ``message`` if an element is NaN or Inf.

    It checks the sum of each sample, which is cheaper than every element.  A sum that overflows
    fails too: such a sample has no finite log-density.
    """
    sums = tf.reduce_sum(x, event_axes(x))
    with tf.control_dependencies([tf.debugging.check_numerics(sums, message)]):
        return tf.identity(x)


def require_tolerance(tolerance: float | None) -> float | None:
    """Returns the tolerance; raises `ValueError` unless it is a positive number or ``None``."""
    if tolerance is None:
        return None
    return require_positive(
        "tolerance", tolerance, "a positive number, or None for the solver's own"
    )
