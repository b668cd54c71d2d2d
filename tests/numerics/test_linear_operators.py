"""Operators against their matrices, and power iteration against the singular values."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.numerics.maps.operators import Convolution, Dense
from iresnet_tf.numerics.norms.induced_norm import EuclideanNorm, power_steps
from iresnet_tf.numerics.norms.singular_values import leading_triple, power_step

# Shape of the kernel, shape of the input without leading axes.
OPERATORS = [
    ((3, 5), (3,)),
    ((7, 2), (7,)),
    ((4, 3), (2, 5, 4)),  # a 1×1 convolution
    ((1, 1, 3, 2), (4, 4, 3)),
    ((3, 3, 2, 4), (5, 5, 2)),
    ((5, 5, 3, 1), (4, 6, 3)),
    ((2, 2, 2, 3), (4, 4, 2)),
    ((4, 2, 1, 3), (5, 6, 1)),
]
IDS = ["×".join(map(str, kernel)) for kernel, _ in OPERATORS]
GRIDS = [(4, 4), (5, 8), (12, 12)]


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape))


def operator_of(kernel_shape):
    kernel = normal(*kernel_shape)
    return Dense(kernel) if len(kernel_shape) == 2 else Convolution(kernel)


def smooth_kernel(*shape):
    """Returns a smooth kernel, whose leading singular values are nearly equal."""
    rows, columns = (np.exp(-((np.arange(k) - (k - 1) / 2) ** 2)) for k in shape[:2])
    return np.outer(rows, columns)[:, :, None, None] * (1 + 0.1 * normal(*shape).numpy())


@pytest.mark.parametrize("kernel_shape,shape", OPERATORS, ids=IDS)
@pytest.mark.parametrize("leading", [(1,), (3,), (2, 3), (2, 1, 2)])
def test_adjoint_is_the_transpose_in_the_inner_product(kernel_shape, shape, leading):
    operator = operator_of(kernel_shape)
    v = normal(*leading, *shape, seed=1)
    u = normal(*leading, *shape[:-1], kernel_shape[-1], seed=2)
    image, back = operator(v), operator.adjoint(u)
    assert image.shape == u.shape and back.shape == v.shape
    axes = list(range(len(leading), v.shape.rank))
    np.testing.assert_allclose(
        tf.reduce_sum(image * u, axes), tf.reduce_sum(v * back, axes), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(operator.adjoint_in(tf.float64)(u), back, atol=1e-12)
    low = operator.adjoint_in(tf.float32)(tf.cast(u, tf.float32))
    assert low.dtype == tf.float32
    np.testing.assert_allclose(low, back, atol=1e-4)


@pytest.mark.parametrize("kernel_shape,shape", OPERATORS, ids=IDS)
def test_extra_leading_axes_are_a_batch(kernel_shape, shape):
    operator = operator_of(kernel_shape)
    v = normal(2, 3, *shape, seed=1)
    separately = tf.stack([operator(each) for each in v])
    np.testing.assert_allclose(operator(v), separately, atol=1e-13)
    u = normal(2, 3, *separately.shape[2:], seed=2)
    separately = tf.stack([operator.adjoint(each) for each in u])
    np.testing.assert_allclose(operator.adjoint(u), separately, atol=1e-13)


@pytest.mark.parametrize("kernel_shape,shape", OPERATORS, ids=IDS)
def test_shapes_unknown_when_traced_are_taken_from_the_data(kernel_shape, shape):
    operator = operator_of(kernel_shape)
    signature = tf.TensorSpec((None, None, *shape), tf.float64)
    v = normal(2, 3, *shape, seed=1)
    image = tf.function(operator.__call__, input_signature=[signature])(v)
    np.testing.assert_allclose(image, operator(v), atol=1e-13)


def test_one_by_one_convolution_is_the_matrix_at_every_pixel():
    kernel, image = normal(1, 1, 3, 2), normal(2, 4, 5, 3, seed=1)
    by_matrix = Dense(kernel[0, 0])
    np.testing.assert_allclose(Convolution(kernel)(image), by_matrix(image), atol=1e-13)
    back = normal(2, 4, 5, 2, seed=2)
    np.testing.assert_allclose(
        Convolution(kernel).adjoint(back), by_matrix.adjoint(back), atol=1e-13
    )


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 40), (40, 3)])
def test_power_iteration_reaches_the_norm_of_a_matrix(shape):
    kernel = normal(*shape)
    triple = leading_triple(Dense(kernel), normal(1, shape[0], seed=1))
    norm = np.linalg.norm(kernel.numpy(), 2)
    assert norm * (1 - 1e-4) <= float(triple.sigma) <= norm * (1 + 1e-12)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("kernel_shape", [(1, 1, 3, 2), (2, 2, 2, 2), (3, 3, 2, 4), (5, 5, 2, 1)])
@pytest.mark.parametrize("kind", ["random", "smooth"])
def test_power_iteration_reaches_the_norm_of_a_convolution(matrix_of, grid, kernel_shape, kind):
    kernel = tf.constant(
        normal(*kernel_shape) if kind == "random" else smooth_kernel(*kernel_shape), tf.float64
    )
    operator, shape = Convolution(kernel), (*grid, kernel_shape[2])
    triple = leading_triple(operator, normal(1, *shape, seed=1))
    norm = np.linalg.norm(matrix_of(operator, shape), 2)
    assert norm * (1 - 1e-4) <= float(triple.sigma) <= norm * (1 + 1e-12)


def test_power_iteration_returns_a_singular_triple(matrix_of):
    operator, shape = Convolution(normal(3, 3, 2, 3)), (5, 4, 2)
    sigma, u, v = leading_triple(operator, normal(1, *shape, seed=1), tolerance=1e-12)
    assert float(tf.norm(u)) == pytest.approx(1.0) and float(tf.norm(v)) == pytest.approx(1.0)
    np.testing.assert_allclose(operator(v), sigma * u, atol=1e-5)
    np.testing.assert_allclose(operator.adjoint(u), sigma * v, atol=1e-5)
    assert float(tf.reduce_sum(u * operator(v))) == pytest.approx(float(sigma), rel=1e-9)


def test_power_iteration_works_in_float32():
    kernel = tf.cast(normal(6, 4), tf.float32)
    triple = leading_triple(Dense(kernel), tf.cast(normal(1, 6, seed=1), tf.float32))
    assert float(triple.sigma) == pytest.approx(np.linalg.norm(kernel.numpy(), 2), rel=1e-4)


def test_start_orthogonal_to_the_leading_vector_does_not_hide_it():
    operator = Dense(tf.constant(np.diag([3.0, 2.0, 1.0])))
    triple = leading_triple(operator, tf.constant([[0.0, 1.0, 0.0]], tf.float64))
    assert float(triple.sigma) == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_power_iteration_does_not_depend_on_scale(factor):
    kernel, start = normal(5, 5), normal(1, 5, seed=1)
    sigma = leading_triple(Dense(kernel), start).sigma
    scaled = leading_triple(Dense(factor * kernel), start / factor).sigma
    assert float(scaled) == pytest.approx(factor * float(sigma), rel=1e-4)


@pytest.mark.parametrize(
    "operator,shape",
    [(Dense(tf.zeros([3, 4])), (1, 3)), (Convolution(tf.zeros([3, 3, 2, 4])), (1, 4, 4, 2))],
)
def test_zero_kernel_has_norm_zero_and_keeps_its_direction(operator, shape):
    triple = leading_triple(operator, tf.cast(normal(*shape), tf.float32))
    assert float(triple.sigma) == 0.0
    assert float(tf.norm(triple.v)) == pytest.approx(1.0)
    assert np.isfinite(triple.u.numpy()).all()


def test_power_step_is_one_step_of_the_textbook():
    kernel, v = normal(4, 3), normal(1, 4, seed=1)
    matrix = kernel.numpy().T
    u = matrix @ v.numpy()[0]
    u /= np.linalg.norm(u)
    image = matrix.T @ u
    triple = power_step(Dense(kernel), v)
    np.testing.assert_allclose(triple.u[0], u, atol=1e-12)
    np.testing.assert_allclose(triple.v[0], image / np.linalg.norm(image), atol=1e-11)
    assert float(triple.sigma) == pytest.approx(np.linalg.norm(image), rel=1e-12)


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1.0, 1e15])
def test_several_steps_end_in_unit_vectors_at_every_scale(factor):
    kernel, v = normal(4, 3), tf.cast(normal(1, 4, seed=1), tf.float32)
    scaled = Dense(tf.cast(factor * kernel, tf.float32))
    triple = power_steps(EuclideanNorm(), scaled, v / tf.norm(v), 5)
    assert float(tf.norm(triple.v)) == pytest.approx(1.0, rel=1e-5)
    assert float(tf.norm(triple.u)) == pytest.approx(float(factor > 0.0), rel=1e-5)
    assert float(triple.sigma) <= 1.00001 * factor * np.linalg.norm(kernel, 2)


def test_vectors_stay_where_products_overflow():
    kernel, v = 1e25 * normal(4, 3), tf.cast(normal(1, 4, seed=1), tf.float32)
    triple = power_steps(EuclideanNorm(), Dense(tf.cast(kernel, tf.float32)), v / tf.norm(v), 5)
    assert float(tf.norm(triple.v)) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("seed", range(8, 14))
def test_power_iteration_is_right_in_single_precision(seed, matrix_of):
    """Leading singular values are so close that rounding may stop the iteration early."""
    kernel = np.random.default_rng(seed).uniform(-0.05, 0.05, (3, 3, 12, 64)).astype(np.float32)
    matrix = matrix_of(Convolution(tf.constant(kernel, tf.float64)), (8, 8, 12))
    exact = np.sqrt(np.linalg.eigvalsh(matrix.T @ matrix)[-1])
    v = tf.random.stateless_normal([1, 8, 8, 12], [3, 4])
    triple = leading_triple(Convolution(tf.constant(kernel)), v, tolerance=1e-4)
    np.testing.assert_allclose(triple.sigma, exact, rtol=1e-4)
