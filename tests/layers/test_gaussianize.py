"""Tests of the map from data to a normal law by the distribution of their values."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from iresnet_tf import layers

PROBABILITIES = np.array([0.6, 0.01, 0.09, 0.3])


def expected(x, alpha):
    """Computes the map and its log-derivative by SciPy."""
    distribution = stats.rv_histogram((PROBABILITIES, np.linspace(0.0, 1.0, 5)))
    y = special.ndtri(alpha + (1.0 - 2.0 * alpha) * distribution.cdf(x))
    slope = (1.0 - 2.0 * alpha) * distribution.pdf(x) / stats.norm.pdf(y)
    return y, np.log(slope)


@pytest.mark.parametrize("alpha", [1e-6, 0.1])
def test_it_is_the_normal_quantile_of_the_distribution_function(alpha):
    x = np.random.default_rng(0).uniform(size=(5, 3))
    layer = layers.Gaussianize(PROBABILITIES, alpha, dtype="float64")
    y, log_det = layer.forward_and_log_det(x)
    wanted, log_slopes = expected(x, alpha)
    np.testing.assert_allclose(y, wanted, rtol=1e-12)
    np.testing.assert_allclose(log_det, log_slopes.sum(1), rtol=1e-10)
    np.testing.assert_allclose(layer.inverse(y).x, x, atol=1e-13)


def test_dequantized_levels_of_these_frequencies_become_standard_normal():
    rng = np.random.default_rng(0)
    levels = rng.choice(4, size=(20_000, 1), p=PROBABILITIES)
    layer = layers.Gaussianize.of_levels(levels, 4, floor=0.0, dtype="float64")
    y = np.asarray(layer((levels + rng.uniform(size=levels.shape)) / 4.0))
    assert stats.kstest(y[:, 0], "norm").pvalue > 0.01


def test_levels_that_never_occur_keep_a_probability():
    layer = layers.Gaussianize.of_levels([[0, 0, 3]], 4, floor=0.04)
    np.testing.assert_allclose(layer.probabilities, [0.65, 0.01, 0.01, 0.33])


def test_the_ends_of_the_interval_stay_finite_and_come_back():
    x = tf.constant([[0.0, 1.0, 0.6 - 1e-8, 1.0 - 6e-8]])
    layer = layers.Gaussianize(PROBABILITIES)
    y, log_det = layer.forward_and_log_det(x)
    assert np.isfinite(y).all() and np.isfinite(log_det).all()
    assert np.abs(y).max() < 4.76
    result = layer.inverse(y)
    assert np.linalg.norm(result.x - x) <= result.error_bound.numpy()[0] + 1e-6


def test_the_bound_on_the_inverse_is_its_steepest_slope():
    layer = layers.Gaussianize(PROBABILITIES, 0.01, dtype="float64")
    y = tf.linspace(tf.constant(-2.3, tf.float64), 2.3, 100_001)[:, tf.newaxis]
    with tf.GradientTape() as tape:
        tape.watch(y)
        x = layer.inverse(y).x
    steepest = tape.gradient(x, y).numpy().max()
    assert steepest <= layer.inverse_lipschitz_bound()
    # The rarest bin is not at the mode of the normal density, which the bound assumes.
    largest = stats.norm.pdf(expected(np.array([0.375]), 0.01)[0]) / (4 * 0.01 * 0.98)
    assert steepest == pytest.approx(largest[0], rel=0.2)
