"""Bounds that must never lie below the truth, where rounding or weights make them tight."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers, log_det, solvers


def linear_block(coeff, solver=None):
    """``y = (1 + k) x`` in one dimension, with ``k`` at the coefficient and below zero."""
    layer = layers.SpectralDense(coeff=coeff, use_bias=False, dtype="float64")
    block = layers.ResidualBlock(layers.Contraction([layer]), solver=solver)
    block.build((None, 1))
    layer.kernel.assign([[-5.0]])
    layer.refresh()
    return block, float(layer.constrained_kernel()[0, 0])


@pytest.mark.parametrize("gap", [0.1, 1e-3, 1e-6, 3.1e-8, 1.2e-8])
def test_the_error_bound_holds_as_the_constant_approaches_one(gap):
    block, k = linear_block(1.0 - gap, solvers.Picard(max_iterations=1))
    result = block.inverse(np.array([[1.0]]))
    error = abs(float(result.x[0, 0]) - 1.0 / (1.0 + k))
    # In one dimension ‖r‖ / (1 − L) is the error itself, up to the rounding that the bound adds.
    assert error <= float(result.error_bound[0]) * (1.0 + 1e-12)
    assert float(result.error_bound[0]) <= 1.01 * error
    stack = layers.Stack([block, block])
    found = stack.inverse(np.array([[1.0]]))
    truth = 1.0 / (1.0 + k) ** 2
    assert abs(float(found.x[0, 0]) - truth) <= float(found.error_bound[0]) * (1.0 + 1e-12)


def test_layers_without_a_coefficient_enlarge_the_rounding_before_them():
    """``g = 1e-5 · (1e5 · x)`` of float32 numbers whose last bits the large factor carries on."""
    wide = [layers.SpectralDense(8, coeff=None, use_bias=False) for _ in range(2)]
    g = layers.Contraction([wide[0], layers.SpectralDense(8, coeff=None), wide[1]], lipschitz=0.9)
    block = layers.ResidualBlock(g)
    block.build((None, 8))
    rng = np.random.default_rng(0)
    large = rng.standard_normal((8, 8))
    wide[0].kernel.assign(large)
    g.parts[1].kernel.assign(1e5 * np.eye(8))
    wide[1].kernel.assign(0.9e-5 * np.linalg.inv(large))
    y = rng.standard_normal((16, 8)).astype("float32")
    result = block.inverse(y)
    linear = np.eye(8) + np.linalg.multi_dot(
        [part.kernel.numpy().astype(np.float64) for part in g.parts]
    )
    error = np.linalg.norm(result.x.numpy() - np.linalg.solve(linear.T, y.T).T, axis=1)
    assert np.isfinite(result.error_bound).all()
    assert (error <= result.error_bound.numpy()).all()


def test_the_rounding_of_a_large_context_counts():
    g = layers.Contraction.mlp((8,), coeff=0.9, context_shape=(64,))
    block = layers.ResidualBlock(g)
    wide = layers.ResidualBlock(
        layers.Contraction.mlp((8,), coeff=0.9, context_shape=(64,), dtype="float64")
    )
    for each in (block, wide):
        each.build((None, 3))
    wide.set_weights(block.get_weights())
    rng = np.random.default_rng(1)
    y, context = rng.normal(size=(16, 3)), 1e6 * rng.normal(size=(16, 64))
    y, context = y.astype("float32"), context.astype("float32")
    narrow = block.inverse(y, context=context)
    truth = wide.inverse(y.astype("float64"), context=context.astype("float64"), tolerance=1e-9)
    error = np.linalg.norm(narrow.x.numpy() - truth.x.numpy(), axis=1)
    assert np.isfinite(narrow.error_bound).all()
    assert (error <= narrow.error_bound.numpy() + truth.error_bound.numpy()).all()


def test_points_too_large_for_the_tolerance_are_not_called_converged():
    block = layers.ResidualBlock(layers.Contraction.mlp((8,)), solver=solvers.Anderson(1e-6))
    small, large = np.ones((2, 3), "float32"), 1e6 * np.ones((2, 3), "float32")
    block.build((None, 3))
    assert block.inverse(block(small)).converged.numpy().all()
    assert not block.inverse(large).converged.numpy().any()


@pytest.mark.parametrize("excess", [1.0, 1.004, 1.2, 1.36])
def test_automatic_terms_are_bounded_by_what_is_taken(excess):
    target, estimator = 0.729, log_det.PowerSeries("auto", truncation=0.01)
    terms = estimator.number_of_terms(target)
    lipschitz = excess * target
    # The worst case: every eigenvalue at −L.
    error = -np.log1p(-lipschitz) - sum(lipschitz**k / k for k in range(1, terms + 1))
    assert error <= estimator.for_target(target).truncation_bound(lipschitz) * (1.0 + 1e-12)
    assert error <= estimator.truncation_bound(lipschitz)


def test_under_a_mixed_policy_the_kernel_that_is_applied_is_certified():
    layer = layers.SpectralDense(24, coeff=0.9, use_bias=False, dtype="mixed_bfloat16")
    layer.build((None, 24))
    layer.kernel.assign(np.random.default_rng(0).standard_normal((24, 24)))
    layer.refresh()
    applied = layer(np.eye(24))
    assert applied.dtype == tf.bfloat16
    truth = np.linalg.norm(applied.numpy().astype(np.float64), 2)
    assert truth <= layer.lipschitz_bound() <= truth * (1.0 + 1e-9)


@pytest.mark.parametrize("activation", [layers.LipSwish, layers.CLipSwish])
@pytest.mark.parametrize("beta", [-1e30, -200.0, 1e5, 1e30])
def test_extreme_slopes_of_a_swish_stay_finite_and_contract(activation, beta):
    layer = activation()
    layer.build((None, 4))
    layer.beta.assign(beta)
    x = tf.constant([[-3.0, -1e-3, 1e-3, 3.0], [0.0, 1e4, -1e4, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    slopes = tape.gradient(y, x).numpy()
    assert np.isfinite(y.numpy()).all() and np.isfinite(slopes).all()
    product = layer.bind().linearize(x).jvp(tf.ones_like(x)).numpy()
    assert np.isfinite(product).all() and np.abs(product).max() <= 1.0


@pytest.mark.parametrize("alpha", [1e-6, 0.05, 0.3, 1.0 / 3.0])
def test_the_bound_of_a_logit_covers_the_rounding_of_alpha(alpha):
    narrow, wide = layers.Logit(alpha), layers.Logit(alpha, dtype="float64")
    y = np.linspace(-16.0, 16.0, 4001, dtype="float32")[:, np.newaxis]
    found, truth = narrow.inverse(y), wide.inverse(y.astype("float64"))
    error = np.abs(found.x.numpy() - truth.x.numpy())[:, 0]
    assert np.isfinite(found.error_bound).all()
    assert (error <= found.error_bound.numpy() + truth.error_bound.numpy()).all()


@pytest.mark.parametrize("probabilities", [np.ones(7), (0.8, 1e-4, 0.1, 1e-3, 0.0989)])
@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_the_bound_of_a_gaussianize_covers_the_rounding_of_its_sums(probabilities, alpha):
    narrow = layers.Gaussianize(probabilities, alpha)
    wide = layers.Gaussianize(probabilities, alpha, dtype="float64")
    y = np.linspace(-5.5, 5.5, 8001, dtype="float32")[:, np.newaxis]
    found, truth = narrow.inverse(y), wide.inverse(y.astype("float64"))
    error = np.abs(found.x.numpy() - truth.x.numpy())[:, 0]
    assert np.isfinite(found.error_bound).all()
    assert (error <= found.error_bound.numpy() + truth.error_bound.numpy()).all()


def test_act_norm_meets_numbers_below_the_smallest_normal_one():
    narrow, wide = layers.ActNorm(), layers.ActNorm(dtype="float64")
    for layer in (narrow, wide):
        layer.build((None, 2))
        layer.log_scale.assign([60.0, 60.0])
    y = np.array([[1e-14, 3e-13], [1e-20, 1e-10]], "float32")
    found, truth = narrow.inverse(y), wide.inverse(y.astype("float64"))
    error = np.linalg.norm(found.x.numpy() - truth.x.numpy(), axis=1)
    assert np.isfinite(found.error_bound).all()
    assert (error <= found.error_bound.numpy()).all()


def test_python_numbers_reach_float64_layers_as_they_are():
    block = layers.ResidualBlock(layers.Contraction.mlp((4,), dtype="float64"))
    numbers = [[0.1, 1.0 / 3.0, 1e-9]]
    y, _ = block.forward_and_log_det(numbers, seed=0)
    np.testing.assert_array_equal(y, block.forward_and_log_det(np.array(numbers), seed=0)[0])
