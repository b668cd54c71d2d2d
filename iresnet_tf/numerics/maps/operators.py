"""Linear operators with their adjoints."""

import abc
import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.numerics.axes import as_batch, with_leading_axes_of
from iresnet_tf.numerics.maps.correlation import correlation
from iresnet_tf.numerics.structure import Structure


class Operator(Structure, abc.ABC):
    """A linear operator ``A`` as a pair of functions, ``v ↦ A v`` and ``u ↦ Aᵀ u``.

    Spectral norms and Jacobian products need only that pair.  An operator acts on the trailing
    axes and takes any leading ones: a batch ``[batch, …]`` or probes ``[probes, batch, …]``.

    A subclass holds all numbers of ``A`` in the field ``kernel`` and defines ``__call__``,
    `adjoint` and `rounding_gain`; the other methods have defaults.
    """

    kernel: tf.Tensor

    @abc.abstractmethod
    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        """Returns ``A v`` for ``v [… , …in]``."""

    @abc.abstractmethod
    def adjoint(self, u: tf.Tensor) -> tf.Tensor:
        """Returns ``Aᵀ u`` for ``u [… , …out]``."""

    def adjoint_in(self, dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns the adjoint for vectors of a dtype, prepared for many products."""
        return dataclasses.replace(self, kernel=tf.cast(self.kernel, dtype)).adjoint

    @abc.abstractmethod
    def rounding_gain(self) -> float | tf.Tensor:
        """Returns ``γ`` for which the rounding of ``A v`` is at most ``ε γ ‖v‖₂``.

        With inner products of ``n`` terms ``(n/2 + 4) ‖ |A| ‖₂`` is enough, where ``|A|`` has the
        absolute values of the entries of ``A``.
        """

    def multiplications(self, pixels: int) -> int:
        """Returns the number of multiplications of ``A v`` for ``v`` of ``pixels`` pixels."""
        return self.kernel.shape.num_elements() * pixels

    def takes_any_grid(self) -> bool:
        """Returns whether the kernel also applies to images of another height and width."""
        return False


class Dense(Operator):
    """``A v = v K`` with a matrix ``K [in, out]`` on the last axis: ``[…, in] → […, out]``.

    A 1×1 convolution is one too: the same matrix at every pixel.
    """

    kernel: tf.Tensor

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        return _matrix_product(v, self.kernel)

    def adjoint(self, u: tf.Tensor) -> tf.Tensor:
        return _matrix_product(u, self.kernel, transpose=True)

    def adjoint_in(self, dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
        # The kernel is transposed once for all products.
        return Dense(tf.transpose(tf.cast(self.kernel, dtype)))

    def rounding_gain(self) -> float | tf.Tensor:
        return _gain(self.kernel)

    def takes_any_grid(self) -> bool:
        return True


class Convolution(Operator):
    """``A v = v ⋆ K``, ``[…, h, w, in] → […, h, w, out]``: a cross-correlation of stride 1.

    Zeros pad the image to the same size.  The kernel is ``[height, width, in, out]``.
    """

    kernel: tf.Tensor

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        image = correlation(as_batch(v, 3), self.kernel)
        return with_leading_axes_of(image, v, 3)

    def adjoint(self, u: tf.Tensor) -> tf.Tensor:
        flat = as_batch(u, 3)
        sizes = [flat.shape[axis] or tf.shape(flat)[axis] for axis in range(3)]
        shape = [*sizes, self.kernel.shape[2]]
        image = tf.nn.conv2d_transpose(flat, self.kernel, shape, strides=1, padding="SAME")
        return with_leading_axes_of(image, u, 3)

    def rounding_gain(self) -> float | tf.Tensor:
        # Each pixel occurs in as many patches as the kernel has taps.
        return _gain(self.kernel) * np.sqrt(self.kernel.shape[0] * self.kernel.shape[1])

    def takes_any_grid(self) -> bool:
        return True


class UnrolledConvolution(Operator):
    """A convolution as one matrix between flattened images: ``[…, h, w, in] → […, h, w, out]``.

    On a tiny grid most pixels interact anyway, and one matrix product is quicker than a small
    convolution.

    Attributes:
        kernel: the matrix, ``[h·w·in, h·w·out]``.
        grid: ``(h, w)``, static.
    """

    kernel: tf.Tensor
    grid: tuple[int, int]

    @classmethod
    def from_kernel(cls, kernel: tf.Tensor, grid: tuple[int, int]) -> Self:
        """Returns the operator of a convolution kernel ``[kh, kw, in, out]`` on the grid."""
        height, width, inputs, outputs = kernel.shape
        pixels = grid[0] * grid[1]
        taps = tf.constant(_tap_indicator(tuple(grid), (height, width)), kernel.dtype)
        blocks = tf.matmul(taps, tf.reshape(kernel, [height * width, -1]))
        blocks = tf.reshape(blocks, [pixels, pixels, inputs, outputs])
        blocks = tf.transpose(blocks, [0, 2, 1, 3])
        return cls(tf.reshape(blocks, [pixels * inputs, pixels * outputs]), (grid[0], grid[1]))

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        return self._apply(v, transpose=False)

    def adjoint(self, u: tf.Tensor) -> tf.Tensor:
        return self._apply(u, transpose=True)

    def adjoint_in(self, dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
        return dataclasses.replace(self, kernel=tf.transpose(tf.cast(self.kernel, dtype)))

    def rounding_gain(self) -> float | tf.Tensor:
        return _gain(self.kernel)

    def multiplications(self, pixels: int) -> int:
        return self.kernel.shape.num_elements()

    def _apply(self, v, transpose):
        rows, columns = self.kernel.shape[::-1] if transpose else self.kernel.shape
        pixels = self.grid[0] * self.grid[1]
        flat = tf.matmul(tf.reshape(v, [-1, rows]), self.kernel, transpose_b=transpose)
        image = tf.reshape(flat, [-1, *self.grid, columns // pixels])
        return with_leading_axes_of(image, v, 3)


@functools.cache
def _tap_indicator(grid, size):
    """Returns ``[pixels², taps]``: 1 where output pixel ``q`` reads pixel ``p`` by the tap."""
    positions = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 2)
    # 'SAME' padding: output q reads p = q + tap − ⌊(k − 1)/2⌋.
    taps = positions[:, None] - positions[None] + (np.array(size) - 1) // 2
    inside = np.all((taps >= 0) & (taps < size), axis=-1)
    index = taps[..., 0] * size[1] + taps[..., 1]
    indicator = np.zeros((len(positions) ** 2, size[0] * size[1]))
    indicator[np.flatnonzero(inside), index[inside]] = 1.0
    return indicator


def _matrix_product(v, matrix, transpose=False):
    """Returns ``v K`` as one large product; ``tf.matmul`` would make a batch of small ones."""
    flat = tf.matmul(as_batch(v, 1), matrix, transpose_b=transpose)
    return with_leading_axes_of(flat, v, 1)


def _gain(kernel):
    """Returns ``(n/2 + 4) ‖K‖_F`` with ``n`` elements of the kernel for each output channel."""
    return (0.5 * kernel.shape[:-1].num_elements() + 4.0) * tf.norm(kernel)
