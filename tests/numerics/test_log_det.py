"""Tests the estimated log-determinants against the Jacobian by differentiation, in float64."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from log_det_examples import ACTIVATIONS, DRAWS, KINDS, basis, by_power_series, true_log_det

from iresnet_tf import layers
from iresnet_tf.numerics.log_det import (
    Exact,
    Krylov,
    PowerSeries,
    RussianRoulette,
    truncation_bound,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_exact_is_the_log_determinant(contraction, batch_for, jacobian_of, kind, activation):
    g, x = contraction(kind, activation), batch_for(kind, 3)
    estimate = Exact()(g.bind().linearize(x))
    assert estimate.shape == (3,)
    np.testing.assert_allclose(estimate, true_log_det(jacobian_of, g, x), atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_exact_in_one_two_and_three_dimensions(jacobian_of, size):
    g = layers.Contraction.mlp((5,), "tanh", dtype="float64")
    x = tf.constant(np.random.default_rng(0).standard_normal((4, size)))
    g.build(x.shape)
    estimate = Exact()(g.bind().linearize(x))
    np.testing.assert_allclose(estimate, true_log_det(jacobian_of, g, x), atol=1e-12)


def test_exact_of_a_map_without_activation_is_the_same_for_every_sample():
    layer = layers.SpectralDense(4, dtype="float64")
    layer.build((None, 4))
    matrix = np.eye(4) + layer.constrained_kernel().numpy()
    estimate = Exact()(layer.bind().linearize(tf.ones([3, 4], tf.float64)))
    np.testing.assert_allclose(estimate, [math.log(np.linalg.det(matrix))] * 3, atol=1e-12)


def test_exact_by_automatic_differentiation(jacobian_of):
    dense = keras.layers.Dense(4, activation="tanh", dtype="float64")
    dense.build((None, 4))
    dense.kernel.assign(0.3 * dense.kernel.value)
    g = layers.Contraction([dense], lipschitz=0.9, dtype="float64")
    x = tf.constant(np.random.default_rng(0).standard_normal((3, 4)))
    g.build(x.shape)
    estimate = Exact()(g.bind().linearize(x))
    np.testing.assert_allclose(estimate, true_log_det(jacobian_of, g, x), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["elu", "lipswish", "clipswish"])
def test_long_series_over_a_basis_is_the_log_determinant(
    contraction, batch_for, jacobian_of, kind, activation
):
    g, x = contraction(kind, activation), batch_for(kind, 3)
    estimate = PowerSeries(60, distribution=basis(kind))(g.bind().linearize(x), 0)
    np.testing.assert_allclose(estimate, true_log_det(jacobian_of, g, x), atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("terms", [1, 2, 5])
def test_value_is_the_series_and_not_the_surrogate(
    contraction, batch_for, jacobian_of, kind, terms
):
    g, x = contraction(kind, coeff=0.98), batch_for(kind, 2)
    jacobian = jacobian_of(g, x).numpy()
    probe = np.random.default_rng(3).choice([-1.0, 1.0], basis(kind).shape[:1])
    estimate = PowerSeries(terms, distribution=probe[np.newaxis])(g.bind().linearize(x), 0)
    expected = [by_power_series(each, probe, terms) for each in jacobian]
    np.testing.assert_allclose(estimate, expected, atol=1e-12)


def test_any_multiple_of_an_orthonormal_basis_gives_the_same_value(contraction, batch_for):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 2))
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    one = PowerSeries(5, distribution=np.eye(6))(linearization, 0)
    other = PowerSeries(5, distribution=3.0 * rotation)(linearization, 0)
    np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_mean_over_many_probes_is_the_trace(contraction, batch_for, jacobian_of, distribution):
    g, x = contraction("dense"), tf.repeat(batch_for("dense", 1), DRAWS, axis=0)
    draws = PowerSeries(4, distribution=distribution)(g.bind().linearize(x), 5).numpy()
    jacobian = jacobian_of(g, x[:1]).numpy()[0]
    expected = sum(by_power_series(jacobian, row, 4) for row in np.eye(6))
    assert abs(draws.mean() - expected) <= 4 * draws.std() / math.sqrt(DRAWS)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_variance_falls_with_the_number_of_probes(contraction, batch_for, distribution):
    linearization = (
        contraction("dense").bind().linearize(tf.repeat(batch_for("dense", 1), 4000, axis=0))
    )
    one, eight = (
        PowerSeries(3, probes, distribution)(linearization, 1).numpy().var() for probes in (1, 8)
    )
    assert one / eight == pytest.approx(8.0, rel=0.2)


@pytest.mark.parametrize("estimator", [PowerSeries(3), PowerSeries(3, 2, "gaussian"), Krylov(2)])
def test_an_example_gets_the_same_probes_in_any_batch(contraction, batch_for, estimator):
    g, x = contraction("conv"), batch_for("conv", 17)
    whole = estimator(g.bind().linearize(x), 7)
    np.testing.assert_allclose(estimator(g.bind().linearize(x[:2]), 7), whole[:2], atol=1e-12)
    assert not np.allclose(whole, estimator(g.bind().linearize(x), 8))


@pytest.mark.parametrize(
    "estimator",
    [Exact(), Krylov(3), PowerSeries(3), RussianRoulette()],
    ids=lambda each: type(each).__name__,
)
def test_float32_agrees_with_float64(contraction, batch_for, estimator):
    wide = contraction("conv")
    narrow = contraction("conv", dtype="float32")
    narrow.set_weights(wide.get_weights())
    x = batch_for("conv", 3)
    expected = estimator(wide.bind().linearize(x), 3, 0.9)
    estimate = estimator(narrow.bind().linearize(tf.cast(x, tf.float32)), 3, 0.9)
    assert estimate.dtype == tf.float32
    np.testing.assert_allclose(estimate, expected, atol=2e-5)


@pytest.mark.parametrize("lipschitz", [0.0, 0.1, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("terms", [1, 3, 10])
def test_truncation_bound_is_the_tail_of_the_logarithm(lipschitz, terms):
    tail = math.fsum(lipschitz**k / k for k in range(terms + 1, 100_000))
    assert truncation_bound(lipschitz, terms) == pytest.approx(tail, rel=1e-11, abs=1e-300)
    whole = -math.log1p(-lipschitz) - math.fsum(lipschitz**k / k for k in range(1, terms + 1))
    assert truncation_bound(lipschitz, terms) == pytest.approx(whole, rel=1e-9, abs=1e-15)
    assert PowerSeries(terms).truncation_bound(lipschitz) == truncation_bound(lipschitz, terms)


@pytest.mark.parametrize("lipschitz", [1.0, 1.5, math.inf, math.nan])
def test_truncation_bound_is_infinite_for_what_is_no_contraction(lipschitz):
    assert truncation_bound(lipschitz, 5) == math.inf
    assert PowerSeries(5).truncation_bound(lipschitz) == math.inf
    assert RussianRoulette().truncation_bound(lipschitz) == math.inf


def test_truncation_bound_close_to_one_is_found_at_once():
    lipschitz = 1 - 2**-40
    expected = 40 * math.log(2) - math.fsum(lipschitz**k / k for k in range(1, 11))
    assert truncation_bound(lipschitz, 10) == pytest.approx(expected, rel=1e-12)


def test_unbiased_estimators_have_no_truncation():
    assert Exact().truncation_bound(0.99) == RussianRoulette().truncation_bound(0.99) == 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("terms", [1, 2, 5, 10])
def test_truncation_bound_exceeds_the_bias(contraction, batch_for, kind, terms):
    g, x = contraction(kind, "relu", coeff=0.95), 3.0 * batch_for(kind, 8)
    linearization = g.bind().linearize(x)
    estimator = PowerSeries(terms, distribution=basis(kind))
    bias = np.abs(estimator(linearization, 0) - Exact()(linearization)).max()
    assert 0 < bias <= len(basis(kind)) * estimator.truncation_bound(g.lipschitz_bound())


def test_truncation_bound_is_attained_by_minus_the_identity():
    """``J = −L I`` has every term of the same sign."""
    g = layers.SpectralDense(3, coeff=0.8, dtype="float64")
    g.build((None, 3))
    g.kernel.assign(-np.eye(3))
    g.refresh(1e-12)
    linearization = g.bind().linearize(tf.zeros([1, 3], tf.float64))
    estimator = PowerSeries(4, distribution=np.eye(3))
    bias = float(estimator(linearization, 0)[0] - Exact()(linearization)[0])
    assert bias == pytest.approx(3 * estimator.truncation_bound(0.8), rel=1e-9)
