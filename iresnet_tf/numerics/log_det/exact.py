"""The exact log-determinant, from the whole Jacobian."""

import keras
import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla
from iresnet_tf.numerics.axes import dimension_of
from iresnet_tf.numerics.log_det.estimator import Lipschitz, LogDet
from iresnet_tf.numerics.maps import Linearization


@keras.saving.register_keras_serializable("iresnet_tf")
class Exact(LogDet):
    """``log |det(I + J)|`` from the whole Jacobian, by ``D`` Jacobian products for each sample.

    It has no bias and no noise, and suits dimensions up to a few hundred.  Its gradient is
    ``tr((I + J)⁻¹ ∇J)``.
    """

    def __call__(
        self, linearization: Linearization, seed: tf.Tensor = None, lipschitz: Lipschitz = None
    ) -> tf.Tensor:
        jacobian = jacobian_of(linearization)
        return _log_abs_determinant(tf.eye(jacobian.shape[-1], dtype=jacobian.dtype) + jacobian)

    def truncation_bound(self, lipschitz: float) -> float:
        return 0.0


def jacobian_of(linearization: Linearization) -> tf.Tensor:
    """Returns ``J``, ``[batch, D, D]``, from its products with the unit vectors."""
    value = linearization.value
    dimension = dimension_of(value)
    basis = tf.reshape(tf.eye(dimension, dtype=value.dtype), [dimension, 1, *value.shape[1:]])
    # columns[i, b] = J_b e_i.  Without activations in g the batch axis is still 1.
    columns = tf.reshape(linearization.jvp(basis), [dimension, -1, dimension])
    columns = tf.broadcast_to(columns, [dimension, tf.shape(value)[0], dimension])
    return tf.transpose(columns, [1, 2, 0])


def _log_abs_determinant(matrix):
    """Returns ``log |det|``, ``[batch, D, D] → [batch]``, written out for ``D ≤ 2``."""
    if matrix.shape[-1] == 1:
        return tf.math.log(tf.abs(matrix[:, 0, 0]))
    if matrix.shape[-1] == 2:
        product = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
        return tf.math.log(tf.abs(product))
    if is_traced_for_xla():
        return _log_abs_determinant_by_qr(matrix)
    return tf.linalg.slogdet(matrix)[1]


@tf.custom_gradient
def _log_abs_determinant_by_qr(matrix):
    """Returns ``log |det A| = Σ log |R_ii|`` with ``A = QR``: XLA has no LU decomposition."""
    diagonal = tf.linalg.diag_part(tf.linalg.qr(matrix).r)

    def gradient(cotangent):
        inverse = tf.linalg.inv(matrix)
        return cotangent[:, tf.newaxis, tf.newaxis] * tf.linalg.matrix_transpose(inverse)

    return tf.reduce_sum(tf.math.log(tf.abs(diagonal)), -1), gradient
