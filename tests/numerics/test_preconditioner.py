"""The approximate inverse at the origin, alone and in a solver."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers
from iresnet_tf.layers.contractive import as_contractive
from iresnet_tf.numerics.solvers import Anderson, Picard, preconditioner


def contraction_of_images(shape, sizes=(3, 1, 3), activation="elu"):
    g = layers.Contraction.conv(6, sizes, activation=activation, coeff=0.9, dtype="float64")
    g.build((None, *shape))
    random = np.random.default_rng(0)
    for layer in layers.spectral_layers(g):
        layer.kernel.assign(random.standard_normal(layer.kernel.shape))
        layer.bias.assign(random.standard_normal(layer.bias.shape))
    layers.refresh(g, 1e-9)
    return g


def matrix_at_origin(matrix_of, g, shape):
    precondition = preconditioner.at_origin(
        as_contractive(g).bind(), tf.TensorShape(shape), tf.float64
    )
    return matrix_of(precondition, shape)


def jacobian_at_origin(jacobian_of, g, shape):
    return jacobian_of(g, tf.zeros([1, *shape], tf.float64))[0].numpy()


def test_of_short_samples_it_is_the_series_of_the_jacobian(matrix_of, jacobian_of):
    shape = (4, 4, 3)
    g = contraction_of_images(shape)
    jacobian = jacobian_at_origin(jacobian_of, g, shape)
    series = np.eye(48) - jacobian + jacobian @ jacobian
    np.testing.assert_allclose(matrix_at_origin(matrix_of, g, shape), series, atol=1e-13)
    assert np.linalg.norm(jacobian, 2) > 0.1


@pytest.mark.parametrize("activation", ["elu", "lipswish", "clipswish"])
def test_of_images_it_is_the_series_of_a_convolution_that_has_the_jacobian_inside(
    matrix_of, jacobian_of, activation
):
    shape = (8, 9, 2)
    g = contraction_of_images(shape, activation=activation)
    jacobian = jacobian_at_origin(jacobian_of, g, shape)
    # An inner pixel has no effect at the border, so the columns of inner pixels are shifts of one
    # another.
    column = jacobian.reshape(*shape, *shape)[2:7, 2:7, :, 4, 4]
    whole = as_convolution(column, shape)
    inside = np.s_[:, :, :, 1:-1, 1:-1]
    np.testing.assert_allclose(jacobian.reshape(*shape, *shape)[inside], whole[inside], atol=1e-13)
    convolution = as_convolution(column[1:-1, 1:-1], shape).reshape(jacobian.shape)
    series = np.eye(len(jacobian)) - convolution + convolution @ convolution
    np.testing.assert_allclose(matrix_at_origin(matrix_of, g, shape), series, atol=1e-13)


def as_convolution(column, shape):
    """Returns the Jacobian ``[…shape, …shape]`` whose columns are shifts of the given one."""
    reach = len(column) // 2
    matrix = np.zeros((*shape, *shape))
    for row, place in np.ndindex(*shape[:2]):
        for down, right in np.ndindex(*column.shape[:2]):
            to = row + down - reach, place + right - reach
            if 0 <= to[0] < shape[0] and 0 <= to[1] < shape[1]:
                matrix[(*to, slice(None), row, place)] = column[down, right]
    return matrix


@pytest.mark.parametrize(
    "shape, width, why",
    [
        ((6,), 8, "no image"),
        ((4, 4, 8), 16, "unrolled for its grid"),
        ((2, 40, 4), 32, "two pixels high"),
        # 2 (9 c²) multiplications are more than 2/3 (18 c w + w²).
        ((8, 8, 16), 16, "as costly as g"),
    ],
)
def test_there_is_none(shape, width, why):
    sizes = (width,) if len(shape) == 1 else (3, 1, 3)
    make = layers.Contraction.mlp if len(shape) == 1 else layers.Contraction.conv
    g = make(sizes) if len(shape) == 1 else make(width, sizes)
    g.build((None, *shape))
    assert (
        preconditioner.at_origin(as_contractive(g).bind(), tf.TensorShape(shape), tf.float32)
        is None
    )


@pytest.mark.parametrize("shape", [(3, 20, 4), (5, 5, 3), (4, 4, 32), (28, 28, 1)])
@pytest.mark.parametrize("sizes", [(3, 1, 3), (5, 3)])
def test_images_of_any_size_come_back(shape, sizes):
    g = layers.Contraction.conv(64, sizes)
    x = tf.constant(np.random.default_rng(0).standard_normal((3, *shape)), tf.float32)
    block = layers.ResidualBlock(g)
    y = block(x)
    assert preconditioner.at_origin(as_contractive(g).bind(), x.shape[1:], x.dtype) is not None
    found = block.inverse(y)
    np.testing.assert_allclose(found.x, x, atol=1e-5)
    np.testing.assert_array_less(
        tf.norm(tf.reshape(found.x - x, [3, -1]), axis=1), found.error_bound
    )


def test_with_the_inverse_of_a_linear_map_one_step_solves_it():
    random = np.random.default_rng(0)
    matrix = random.standard_normal((20, 20))
    matrix *= 0.95 / np.linalg.norm(matrix, 2)
    y = tf.constant(random.standard_normal((3, 20)))
    inverse = np.linalg.inv(np.eye(20) + matrix)
    found = Anderson(1e-10)(
        lambda x: tf.matmul(x, matrix, transpose_b=True),
        y,
        precondition=lambda r: tf.matmul(r, inverse, transpose_b=True),
    )
    np.testing.assert_array_equal(found.iterations, 2)
    np.testing.assert_allclose(found.x, y @ inverse.T, atol=1e-9)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 30.0, 1e3])
def test_a_useless_preconditioner_only_costs_evaluations(scale, contraction, batch_for):
    g, x = contraction("conv"), batch_for("conv", 4)
    y = x + g(x)
    found = Anderson(1e-9)(g, y, precondition=lambda r: scale * r)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.x, x, atol=1e-8)


def test_it_saves_evaluations_on_images():
    """At small points the Jacobian varies as little as in trained blocks."""
    shape = (8, 8, 4)
    g = contraction_of_images(shape)
    x = tf.constant(0.3 * np.random.default_rng(1).standard_normal((8, *shape)))
    y = x + g(x)
    bound = as_contractive(g).bind()
    precondition = preconditioner.at_origin(bound, y.shape[1:], y.dtype)
    plain, found = Anderson(1e-9)(bound, y), Anderson(1e-9)(bound, y, precondition=precondition)
    np.testing.assert_allclose(found.x, x, atol=1e-8)
    assert np.all(found.iterations < plain.iterations)
    block = layers.ResidualBlock(g, solver=Anderson(1e-9))
    np.testing.assert_array_equal(block.inverse(y).iterations, found.iterations)


@pytest.mark.parametrize("activation", ["relu", "elu", "lipswish"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_far_from_the_origin_it_does_not_mislead(activation, scale):
    shape = (8, 8, 3)
    g = contraction_of_images(shape, activation=activation)
    x = tf.constant(scale * np.random.default_rng(1).standard_normal((6, *shape)))
    taken = {}
    for solver in (Picard, Anderson):
        block = layers.ResidualBlock(g, solver=solver(1e-8))
        found = block.inverse(block(x))
        assert np.all(found.converged)
        np.testing.assert_allclose(found.x, x, atol=1e-7)
        taken[solver] = found.iterations.numpy()
    assert np.all(taken[Anderson] <= taken[Picard] + 2)
