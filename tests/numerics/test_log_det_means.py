"""Tests the means of random estimates of the log-determinant and of their gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf
from log_det_examples import (
    DRAWS,
    ESTIMATORS,
    KINDS,
    basis,
    gradient,
    same,
    true_gradient,
    true_log_det,
    weights_of,
)

from iresnet_tf.numerics import log_det
from iresnet_tf.numerics.log_det import (
    Coloured,
    Exact,
    PowerSeries,
    RussianRoulette,
)


def draws_of(estimator, g, x, count, lipschitz=None):
    """Returns values ``[count, batch]`` and flat gradients of their sum, for as many seeds."""

    def draw(seed):
        weights = weights_of(g)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            log_det = estimator(g.bind().linearize(x), tf.stack([seed, 11]), lipschitz)
            total = tf.reduce_sum(log_det)
        gradients = tape.gradient(total, weights, unconnected_gradients="zero")
        return log_det, tf.concat([tf.reshape(each, [-1]) for each in gradients], 0)

    signature = (tf.float64, tf.float64)
    loop = tf.function(
        lambda: tf.map_fn(draw, tf.range(count), fn_output_signature=signature), autograph=False
    )
    return tuple(each.numpy() for each in loop())


def assert_mean(draws, expected):
    """Requires agreement within four standard errors, or to rounding if nothing varies."""
    error = draws.std(0, ddof=1) / math.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - expected) <= 4 * error + 1e-10).all()


@pytest.mark.parametrize(
    "kind,count,estimator",
    [
        ("dense", DRAWS, RussianRoulette()),
        ("dense", 5000, RussianRoulette(parameter=0.3, exact_terms=0, distribution="gaussian")),
        pytest.param(
            "conv", DRAWS, RussianRoulette(exact_terms=1, probes=2), marks=pytest.mark.slow
        ),
    ],
    ids=["geometric", "gaussian", "conv"],
)
def test_roulette_and_its_gradient_are_unbiased(
    contraction, batch_for, jacobian_of, kind, count, estimator
):
    g, x = contraction(kind, "lipswish", coeff=0.85), batch_for(kind, 2)
    values, gradients = draws_of(estimator, g, x, count, lipschitz=0.85**3)
    assert_mean(values, true_log_det(jacobian_of, g, x).numpy())
    exact = true_gradient(jacobian_of, g, x)
    assert_mean(gradients, np.concatenate([each.numpy().ravel() for each in exact]))


@pytest.mark.parametrize(
    "kind,estimator",
    [
        ("dense", Coloured(RussianRoulette(), (3, 2))),
        ("conv", Coloured(PowerSeries(15), (8, 5, 2))),
    ],
    ids=["dense", "conv"],
)
def test_a_coloured_series_and_its_gradient_are_unbiased(
    contraction, batch_for, jacobian_of, kind, estimator
):
    g, x = contraction(kind, "lipswish", coeff=0.7), batch_for(kind, 2)
    values, gradients = draws_of(estimator, g, x, 1000, lipschitz=0.7**3)
    assert_mean(values, true_log_det(jacobian_of, g, x).numpy())
    exact = true_gradient(jacobian_of, g, x)
    assert_mean(gradients, np.concatenate([each.numpy().ravel() for each in exact]))


def test_poisson_roulette_is_unbiased_where_its_variance_is_small(
    contraction, batch_for, jacobian_of
):
    g, x = contraction("dense", coeff=0.4), batch_for("dense", 1)
    with pytest.warns(UserWarning, match="infinite variance"):
        estimator = RussianRoulette("poisson")
    values, _ = draws_of(estimator, g, x, 3000)
    assert_mean(values, true_log_det(jacobian_of, g, x).numpy())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_the_mean_is_within_its_bound_and_the_estimator_is_saved(
    contraction, batch_for, jacobian_of, estimator
):
    g, x = contraction("dense", coeff=0.8), batch_for("dense", 3)
    lipschitz = float(g.lipschitz_bound())
    values, _ = draws_of(estimator, g, x, 2000, lipschitz)
    bias = x.shape[1] * estimator.truncation_bound(lipschitz)
    error = values.std(0, ddof=1) / math.sqrt(len(values))
    distance = np.abs(values.mean(0) - true_log_det(jacobian_of, g, x))
    assert (distance <= bias + 4.0 * error + 1e-10).all()
    assert same(estimator, log_det.get(estimator.serialized()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 17])
def test_mean_neumann_gradient_is_the_gradient(contraction, batch_for, jacobian_of, kind, batch):
    g, x = contraction(kind, "elu", coeff=0.6), batch_for(kind, batch)
    _, gradients = draws_of(PowerSeries(12), g, x, 1000)
    exact = true_gradient(jacobian_of, g, x)
    assert_mean(gradients, np.concatenate([each.numpy().ravel() for each in exact]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 17])
@pytest.mark.parametrize("activation", ["elu", "clipswish"])
def test_gradient_over_a_basis_is_the_gradient(
    contraction, batch_for, jacobian_of, kind, batch, activation
):
    g, x = contraction(kind, activation), batch_for(kind, batch)
    exact = true_gradient(jacobian_of, g, x)
    for estimator in (Exact(), PowerSeries(120, distribution=basis(kind))):
        for one, other in zip(gradient(estimator, g, x), exact, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_a_sample_and_its_gradient_do_not_depend_on_the_others(contraction, batch_for, estimator):
    g, x = contraction("conv"), batch_for("conv", 17)
    others = tf.concat([x[:1], 5.0 * batch_for("conv", 16, seed=9)], 0)
    one, other = (estimator(g.bind().linearize(each), 3, 0.7)[0] for each in (x, others))
    np.testing.assert_allclose(one, other, atol=1e-12)
    gradients = (gradient(estimator, g, each, 3, 0.7, sample=0) for each in (x, others))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_same_value_and_gradient_inside_a_function(contraction, batch_for, estimator):
    g, x = contraction("dense"), batch_for("dense", 3)
    eager = gradient(estimator, g, x, 3, 0.7)
    traced = tf.function(lambda: gradient(estimator, g, x, 3, 0.7), autograph=False)()
    for one, other in zip(eager, traced, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
