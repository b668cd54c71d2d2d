"""The affine map of a kernel whose norm is constrained."""

import dataclasses

import tensorflow as tf

from iresnet_tf.numerics.maps import Affine, Derived, Operator, UnrolledConvolution
from iresnet_tf.numerics.norms import induced_norm


class ConstrainedAffine(Derived):
    """``x ↦ A_K̂ x + b`` with ``K̂ = K / max(1, σ/c)``.

    Attributes:
        operator: ``A_K``, with the kernel before the constraint.
        left, right: the vectors ``u`` and ``v`` of ``σ``.
        norm: defines ``σ``.
        coeff: ``c``, or ``None`` for ``K̂ = K``.
        bias: ``b``, or ``None``.
        dtype: name of the dtype of ``K̂`` and ``b`` in the map.
        unrolled_grid: the grid on which a convolution is applied as one matrix, or ``None`` to
            apply the operator in its own form.
    """

    operator: Operator
    left: tf.Tensor
    right: tf.Tensor
    norm: induced_norm.Norm
    coeff: float | None
    bias: tf.Tensor | None
    dtype: str
    unrolled_grid: tuple[int, int] | None = None

    def derive(self) -> Affine:
        kernel = self.operator.kernel
        if self.coeff is not None:
            vectors = self.left, self.right
            kernel = induced_norm.constrained(
                self.norm, self.operator, *vectors, kernel, self.coeff
            )
        kernel = tf.cast(kernel, self.dtype)
        bias = None if self.bias is None else tf.cast(self.bias, self.dtype)
        if self.unrolled_grid is not None:
            return Affine(UnrolledConvolution.from_kernel(kernel, self.unrolled_grid), bias)
        return Affine(dataclasses.replace(self.operator, kernel=kernel), bias)
