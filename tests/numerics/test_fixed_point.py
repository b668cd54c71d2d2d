"""Tests the inverses of blocks, and the reports of their errors, against float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from solver_examples import (
    SOLVERS,
    aligned_contraction,
    normal,
    norms,
    preimage,
    random_contraction,
)

from iresnet_tf import layers
from iresnet_tf.numerics.solvers import Anderson, Picard, Solver


@pytest.mark.parametrize(
    "shape,coeff", [((2,), 0.98), ((8,), 0.9), ((64,), 0.98), ((6, 6, 4), 0.9)]
)
@pytest.mark.parametrize("bias", [1.0, 100.0])
def test_float32_inverse_is_accurate_or_says_that_it_is_not(coeff, shape, bias):
    block = layers.ResidualBlock(random_contraction(shape, coeff=coeff, bias=bias))
    y = normal(16, *shape, seed=1)
    truth = preimage(block, y)
    for solver in (Picard(tolerance=1e-6), Anderson(tolerance=1e-6)):
        block.solver = solver
        result = block.inverse(y)
        again = tf.reduce_max(tf.abs(block(result.x) - y), list(range(1, y.shape.rank)))
        assert ((again <= 1e-6) | ~result.converged).numpy().all()
        # With biases of 100 the values of g are rounded by more than the tolerance.
        assert result.converged.numpy().all() == (bias == 1.0)
        np.testing.assert_allclose(
            result.residual, norms(block(result.x) - y), rtol=1e-3, atol=1e-6 * bias
        )
        error = norms(tf.cast(result.x, tf.float64) - truth)
        assert (error <= result.error_bound.numpy()).all()
        assert np.isfinite(result.error_bound.numpy()).all()


@pytest.mark.parametrize("activation", ["relu", "elu", "softplus", "tanh", "lipswish", "clipswish"])
def test_error_bound_holds_at_every_scale_of_the_data(activation):
    g = random_contraction((8,), activation, coeff=0.98, bias=0.0)
    scale = tf.repeat(tf.constant([[1e-4], [1.0], [1e4]]), 32, axis=0)
    block, y = layers.ResidualBlock(g), scale * normal(96, 8, seed=1)
    truth = preimage(block, y)
    for solver in (Picard(tolerance=1e-12), Anderson(tolerance=1e-12)):
        block.solver = solver
        result = block.inverse(y)
        error = norms(tf.cast(result.x, tf.float64) - truth)
        assert (error <= result.error_bound.numpy()).all()


def test_error_bound_holds_where_the_block_is_nearly_singular():
    block = layers.ResidualBlock(aligned_contraction("elu", 0.98, dtype="float32"))
    y = normal(16, 8, seed=1)
    truth = preimage(block, y)
    for solver in (Picard(), Anderson()):
        block.solver = solver
        result = block.inverse(y)
        error = norms(tf.cast(result.x, tf.float64) - truth)
        assert (error <= result.error_bound.numpy()).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_inverse_of_a_linear_block_is_that_of_its_matrix(solver):
    g = layers.Contraction([layers.SpectralDense(dtype="float64")], dtype="float64")
    g.build((None, 5))
    y = normal(4, 5, dtype=tf.float64)
    kernel = g.parts[0].constrained_kernel().numpy()
    expected = np.linalg.solve((np.eye(5) + kernel).T, y.numpy().T).T
    found = solver(tolerance=1e-12)(g.bind(), y)
    np.testing.assert_allclose(found.x, expected, atol=1e-11)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-8])
def test_a_block_meets_the_error_asked_for(solver, tolerance):
    block = layers.ResidualBlock(aligned_contraction("elu", 0.97), solver=solver())
    x = normal(16, 8, dtype=tf.float64)
    result = block.inverse(block(x), tolerance=tolerance)
    error = norms(result.x - x) / np.sqrt(8)
    assert result.converged.numpy().all() and (error <= tolerance).all()


def image_stack():
    parts = [layers.Dequantize(17, dtype="float64"), layers.Center(dtype="float64")]
    for seed in range(3):
        parts += [layers.ActNorm(dtype="float64")]
        parts += [layers.ResidualBlock(random_contraction((8,), seed=seed, dtype="float64"))]
    stack = layers.Stack(parts)
    stack.build((None, 8))
    return stack


def test_the_tolerance_of_a_stack_is_in_the_units_of_its_data():
    stack = image_stack()
    x = tf.constant(np.random.default_rng(1).uniform(0.0, 17.0, (32, 8)))
    stack.initialize(x)
    y, before = stack(x), np.inf
    for tolerance in (1e-6, 1e-3, 1e-1):
        result = stack.inverse(y, tolerance=tolerance)
        options = stack._inverse_options(y, tolerance)
        np.testing.assert_array_equal(result.x, stack._inverse_point(y, options))
        error = norms(result.x - x) / np.sqrt(8)
        assert result.converged.numpy().all() and (error <= tolerance).all()
        assert result.iterations.numpy().mean() < before
        before = result.iterations.numpy().mean()


def test_a_tolerance_that_rounding_prevents_is_reported():
    g = random_contraction((8,), bias=100.0)
    stack = layers.Stack([layers.ResidualBlock(g)])
    result = stack.inverse(normal(8, 8), tolerance=1e-9)
    assert not result.converged.numpy().any()
    assert (result.error_bound.numpy() > 1e-9).all()


def test_a_tolerance_that_is_not_positive_raises():
    stack = image_stack()
    for layer in (stack, stack.parts[-1]):
        with pytest.raises(ValueError, match="tolerance is a positive number.*received -1.0"):
            layer.inverse(tf.zeros([1, 8]), tolerance=-1.0)


class Double(keras.layers.Layer):
    """``g(x) = −2 relu(x)`` expands, and ``x + g(x) = −|x|`` is never positive."""

    def call(self, x):
        return -2.0 * tf.nn.relu(x)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("lipschitz", [None, 2.0])
def test_expanding_map_is_not_converged_and_has_no_error_bound(solver, lipschitz):
    g = layers.Contraction([Double()], lipschitz=lipschitz)
    result = layers.ResidualBlock(g, solver=solver()).inverse(tf.ones([3, 2]))
    assert not result.converged.numpy().any()
    assert np.isinf(result.error_bound.numpy()).all()
    assert np.isfinite(result.x.numpy()).all()
    image = result.x.numpy() - 2.0 * np.maximum(result.x.numpy(), 0.0)
    np.testing.assert_allclose(result.residual, np.linalg.norm(image - 1.0, axis=1), rtol=1e-6)
    assert result.iterations.numpy().max() <= 2 * Solver.PATIENCE


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sample_that_cannot_be_solved_does_not_disturb_the_others(solver):
    def g(x):
        return tf.where(x > 5.0, tf.exp(x) * x, 0.5 * tf.sin(x))

    y = tf.constant([[0.3, -0.2], [60.0, 80.0], [1.0, 0.1]])
    found = solver(1e-6)(g, y)
    np.testing.assert_array_equal(found.converged, [True, False, True])
    np.testing.assert_allclose((found.x + g(found.x)).numpy()[[0, 2]], y.numpy()[[0, 2]], atol=1e-6)
    assert np.isfinite(found.x.numpy()).all()


def test_a_bound_given_by_the_caller_replaces_the_certified_one():
    block = layers.ResidualBlock(random_contraction((8,)))
    y = normal(3, 8)
    certified = block.inverse(y).error_bound
    ratio = (1 - block.lipschitz_bound()) / (1 - 0.25)
    np.testing.assert_allclose(
        block.inverse(y, lipschitz=0.25).error_bound, ratio * certified, rtol=1e-4
    )
    assert np.isinf(block.inverse(y, lipschitz=1.0).error_bound.numpy()).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_target_that_is_not_finite_raises(value):
    block = layers.ResidualBlock(random_contraction((8,)))
    y = normal(3, 8).numpy()
    y[1, 2] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN or Inf"):
        block.inverse(y)
