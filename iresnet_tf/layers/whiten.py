"""Removes the linear correlations of the data."""

import functools
import math
import string
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.inputs import require_sample_shape
from iresnet_tf.layers.invertible import ClosedForm
from iresnet_tf.numerics.axes import batch_shape
from iresnet_tf.numerics.options import require_positive
from iresnet_tf.numerics.precision import as_float64


@keras.saving.register_keras_serializable("iresnet_tf")
class Whiten(ClosedForm):
    """``y = U (exp(s) ⊙ Uᵀ(x + b))``, where ``U`` is a Kronecker product of orthogonal matrices.

    ``log_det = Σ s``.  ``U = U_1 ⊗ … ⊗ U_k`` has a factor for every axis of a sample: rows,
    columns and channels of an image, and the one axis of a vector.  The layer is the identity
    until `initialize` sets ``b`` to minus the mean of the data, each factor to the eigenvectors of
    the covariance along its axis, and ``s`` so that all coordinates of ``Uᵀy`` have variance 1.
    For vectors ``y`` then has the covariance ``I``.  For images this holds to the extent that their
    covariance is a Kronecker product; on CIFAR-10 a normal distribution with this covariance has
    the likelihood of one with a full covariance matrix, to 0.002 bits/dim.  The rotation back by
    ``U`` keeps every pixel in its place, so that convolutions may follow.

    ``s`` is trained; ``U`` and ``b`` are not.

    Args:
        epsilon: largest standard deviation of a coordinate that counts as constant, relative to
            the largest one; constant coordinates keep their scale.  By default 64 roundings of the
            dtype.

    Raises:
        ValueError: for an ``epsilon`` that is not positive; when it is built, if the shape of a
            sample is not known.

    Source: Bell and Sejnowski 1997, "The independent components of natural scenes are edge
    filters" (this symmetric form, called ZCA); the Kronecker product is this package's.
    """

    def __init__(self, epsilon: float | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if epsilon is None:
            epsilon = 64.0 * np.finfo(self.compute_dtype).eps
        self.epsilon = require_positive("epsilon", epsilon, "a positive number")

    def build(self, input_shape: tuple) -> None:
        shape = tuple(input_shape[1:])
        require_sample_shape(self.name, input_shape)
        super().build(input_shape)
        self.log_scale = self.add_weight(name="log_scale", shape=shape, initializer="zeros")
        add = functools.partial(self.add_weight, trainable=False)
        self.initialized = add(name="initialized", shape=(), dtype="bool", initializer="zeros")
        self.bias = add(name="bias", shape=shape, initializer="zeros")
        self.factors = [
            add(name=f"factor_{axis}", shape=(size, size), initializer="identity")
            for axis, size in enumerate(shape)
        ]

    def initialize(self, x: Any, *, context: Any = None) -> None:
        """Sets all weights from a batch, even if they have been set before."""
        x = self._prepare(x).numpy().astype(np.float64)
        mean = x.mean(0)
        values = coordinates = x - mean
        for axis, factor in enumerate(self.factors, 1):
            rows = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
            _, vectors = np.linalg.eigh(rows.T @ rows)
            factor.assign(vectors)
            coordinates = np.moveaxis(np.moveaxis(coordinates, axis, -1) @ vectors, -1, axis)
        stddev = np.sqrt(np.mean(np.square(coordinates), 0))
        stddev = np.where(stddev > self.epsilon * stddev.max(), stddev, 1.0)
        self.bias.assign(-mean)
        self.log_scale.assign(-np.log(stddev))
        self.initialized.assign(True)

    def is_initialized(self) -> bool:
        # bool() of a mirrored variable is always true.
        return self.built and bool(self.initialized.numpy())

    def _rotated(self, x, *, transpose):
        """Returns ``Uᵀx`` or ``U x``."""
        axes = string.ascii_lowercase[: len(self.event_shape)]
        for axis, factor in zip(axes, self.factors):
            pair = f"{axis}Y" if transpose else f"Y{axis}"
            equation = f"Z{axes},{pair}->Z{axes.replace(axis, 'Y')}"
            x = tf.einsum(equation, x, tf.convert_to_tensor(factor))
        return x

    def _forward_and_log_det(self, x, *, seed, context):
        log_scale = tf.convert_to_tensor(self.log_scale)
        rotated = self._rotated(x + tf.convert_to_tensor(self.bias), transpose=True)
        y = self._rotated(rotated * tf.exp(log_scale), transpose=False)
        return y, tf.fill(batch_shape(x), tf.reduce_sum(log_scale))

    def _closed_form(self, y, *, context):
        stddev = tf.exp(-tf.convert_to_tensor(self.log_scale))
        rotated = self._rotated(y, transpose=True)
        x = self._rotated(rotated * stddev, transpose=False)
        bias = tf.convert_to_tensor(self.bias)
        # A product with a factor of order n is off by at most n √n roundings of the norm of the
        # whole sample, and the factor is orthogonal up to n; a summand counts for 16 roundings.
        roundings = sum(order * (math.sqrt(order) + 2.0) for order in self.event_shape)
        rounded = (1.0 + roundings / 8.0) * tf.reduce_max(stddev) * y
        return x - bias, rounded, bias

    def _unit(self):
        return self.inverse_lipschitz_bound()

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        largest = tf.exp(-tf.reduce_min(as_float64(tf.convert_to_tensor(self.log_scale))))
        # A stored factor of order n, which the map uses twice, is orthogonal up to 4 n roundings.
        epsilon = np.finfo(self.compute_dtype).eps
        return largest * (1.0 + 8.0 * epsilon * sum(self.event_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
