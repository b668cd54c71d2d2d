"""Tests how many evaluations the solvers take."""

import numpy as np
import pytest
import tensorflow as tf
from solver_examples import (
    ACTIVATIONS,
    PRECISIONS,
    SHAPES,
    SOLVERS,
    aligned_contraction,
    normal,
    random_contraction,
    solve,
)

from iresnet_tf.numerics.maps import Affine
from iresnet_tf.numerics.maps.operators import Dense
from iresnet_tf.numerics.solvers import Anderson


@pytest.mark.parametrize(
    "activation,coeff",
    [("linear", 0.97), ("linear", 0.995), ("elu", 0.97), ("elu", 0.98), ("tanh", 0.98)],
)
def test_anderson_takes_at_most_half_where_picard_is_slow(activation, coeff):
    g = aligned_contraction(activation, coeff).bind()
    y = normal(16, 8, seed=1, dtype=tf.float64)
    picard, anderson = (solve(solver(1e-9, 5000), g, y) for solver in SOLVERS)
    assert picard.converged.numpy().all() and anderson.converged.numpy().all()
    slow = picard.iterations.numpy().max()
    assert slow >= 40
    assert anderson.iterations.numpy().max() <= slow / 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype,tolerance", PRECISIONS)
def test_anderson_never_takes_much_more_than_picard(activation, shape, dtype, tolerance):
    g = random_contraction(shape, activation, dtype=dtype).bind()
    y = normal(64, *shape, dtype=dtype)
    picard, anderson = (solve(solver(tolerance), g, y) for solver in SOLVERS)
    assert (anderson.iterations.numpy() <= picard.iterations.numpy() + 2).all()
    assert (anderson.converged.numpy() >= picard.converged.numpy()).all()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(8,), (6, 6, 4)], ids=str)
def test_a_sample_stops_as_it_would_alone(solver, shape):
    g = random_contraction(shape, dtype="float64").bind()
    scale = tf.reshape(tf.constant([1e-6, 1e-3, 1.0, 1e3], tf.float64), [4] + [1] * len(shape))
    y = scale * normal(4, *shape, dtype=tf.float64)
    together = solver(1e-8)(g, y)
    for i in range(4):
        alone = solver(1e-8)(g, y[i : i + 1])
        assert int(alone.iterations[0]) == int(together.iterations[i])
        np.testing.assert_allclose(alone.x[0], together.x[i], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_solution_as_a_start_needs_one_evaluation(solver):
    g = random_contraction((8,), dtype="float64").bind()
    x = normal(3, 8, dtype=tf.float64)
    found = solver(1e-10)(g, x + g(x), initial=x)
    assert (found.iterations.numpy() == 1).all() and found.converged.numpy().all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_most_evaluations_are_kept_to(solver):
    g = random_contraction((8,), dtype="float64").bind()
    found = solver(1e-12, max_iterations=3)(g, normal(3, 8, dtype=tf.float64))
    assert (found.iterations.numpy() == 3).all() and not found.converged.numpy().any()


@pytest.mark.parametrize("solver", SOLVERS)
def test_traced_with_an_unknown_batch_it_is_the_same(solver):
    g = random_contraction((8,), dtype="float64").bind()
    y = normal(5, 8, dtype=tf.float64)
    traced = tf.function(
        lambda y: solver(1e-9)(g, y), input_signature=[tf.TensorSpec((None, 8), tf.float64)]
    )
    eager, traced = solver(1e-9)(g, y), traced(y)
    np.testing.assert_array_equal(eager.iterations, traced.iterations)
    np.testing.assert_allclose(eager.x, traced.x, atol=1e-12)


def test_only_samples_that_have_not_stopped_are_evaluated():
    g = random_contraction((8,), dtype="float64").bind()
    rows = []

    def counted(x):
        rows.append(x.shape[0])
        return g(x)

    scale = tf.constant([[1e-6], [1e-3], [1.0], [1e3]], tf.float64)
    found = Anderson(1e-8)(counted, scale * normal(4, 8, dtype=tf.float64))
    assert len(set(found.iterations.numpy())) > 1
    assert sum(rows) == found.iterations.numpy().sum()


def test_anderson_is_conjugate_residuals_where_g_is_linear_and_symmetric():
    """Conjugate residuals take one more product for the same iterates, to leading order."""
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.standard_normal((40, 40)))
    matrix = basis @ np.diag(np.linspace(-0.9, 0.2, 40)) @ basis.T
    y = random.standard_normal(40)
    g = Affine(Dense(tf.constant(matrix)))
    found = solve(Anderson(1e-9, memory=20), g, tf.constant(y[np.newaxis]))
    operator = np.eye(40) + matrix
    x, r = y.copy(), y - operator @ y
    p, evaluations = r.copy(), 1
    while np.abs(r).max() > 1e-9:
        image, square = operator @ p, r @ operator @ r
        step = square / (image @ image)
        x, r = x + step * p, r - step * image
        p = r + (r @ operator @ r) / square * p
        evaluations += 1
    np.testing.assert_allclose(found.x[0], np.linalg.solve(operator, y), atol=1e-8)
    assert int(found.iterations[0]) <= evaluations + 4
