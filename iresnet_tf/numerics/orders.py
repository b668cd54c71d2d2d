"""Makes derivatives fail beyond the orders that are correct."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def refuse_derivatives(value: tf.Tensor, *origins: tf.Tensor, message: str) -> tf.Tensor:
    """Returns ``value``; a derivative of it fails where it is evaluated.

    It does not fail where it is traced, because TensorFlow traces derivatives that nobody asks
    for.

    Args:
        value: a tensor.
        *origins: tensors that the value depends on, perhaps without a recorded path.
        message: of the `tf.errors.InvalidArgumentError`; XLA gives NaN in its place.
    """

    @tf.custom_gradient
    def guarded(value: tf.Tensor, *origins: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(cotangent: tf.Tensor) -> list[tf.Tensor]:
            failure = tf.debugging.check_numerics(tf.reduce_sum(cotangent) * np.nan, message)
            return [failure + tf.zeros_like(each) for each in (value, *origins)]

        return tf.identity(value), gradient

    return guarded(value, *origins)


def first_order_only(value: tf.Tensor, *, message: str) -> tf.Tensor:
    """Returns ``value``; its gradient cannot be differentiated again.

    Args:
        value: a tensor whose recorded gradient is right and whose second derivative is not.
        message: of the error that a second derivative fails with: see `refuse_derivatives`.
    """

    @tf.custom_gradient
    def guarded(value: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(cotangent: tf.Tensor) -> tf.Tensor:
            # Its own tensor of the graph that the gradient is traced in.
            return refuse_derivatives(cotangent, tf.identity(value), message=message)

        return tf.identity(value), gradient

    return guarded(value)
