"""The maps of columns are invertible, exact, and make their data normal."""

import numpy as np
import pytest
from scipy import stats

from iresnet_tf.columns.levels import Levels
from iresnet_tf.columns.smooth import Smooth

RANDOM = np.random.default_rng(0)

LAWS = {
    "normal": (stats.norm(3.0, 2.0), None, None),
    "tiny": (stats.norm(5e-9, 1e-9), None, None),
    "far from zero": (stats.norm(1e9, 1e-2), None, None),
    "Cauchy": (stats.cauchy(), None, None),
    "Student": (stats.t(3, 0.0, 1e9), None, None),
    "lognormal": (stats.lognorm(1.0), 0.0, None),
    "negative": (stats.gamma(2.0), 0.0, None),
    "uniform": (stats.uniform(), 0.0, 1.0),
    "beta": (stats.beta(0.5, 0.7, -2.0, 4.0), -2.0, 2.0),
    "two modes": (None, None, None),
}


def draw(name, count, seed=0):
    law, lower, upper = LAWS[name]
    rng = np.random.default_rng(seed)
    if law is None:
        centres = np.where(rng.random(count) < 0.4, -5.0, 5.0)
        x = centres + rng.standard_normal(count)
        log_p = np.logaddexp(
            np.log(0.4) + stats.norm.logpdf(x, -5.0), np.log(0.6) + stats.norm.logpdf(x, 5.0)
        )
        return x, log_p, lower, upper
    x = law.rvs(count, random_state=rng)
    return x, law.logpdf(x), lower, upper


@pytest.mark.parametrize("name", LAWS)
def test_numbers_of_any_law_become_normal_and_come_back(name):
    x, _, lower, upper = draw(name, 20_000)
    smooth = Smooth.of_values(x, lower, upper)
    y, _ = smooth.forward(x)
    assert stats.kstest(y, "norm").statistic < 0.01
    spread = np.quantile(x, 0.75) - np.quantile(x, 0.25)
    np.testing.assert_allclose(smooth.inverse(y), x, rtol=1e-11, atol=1e-13 * spread)


@pytest.mark.parametrize("name", LAWS)
def test_the_density_of_new_numbers_is_that_of_the_law(name):
    x, _, lower, upper = draw(name, 20_000)
    smooth = Smooth.of_values(x, lower, upper)
    new, log_p, _, _ = draw(name, 20_000, seed=1)
    y, log_det = smooth.forward(new)
    gap = log_p - (stats.norm.logpdf(y) + log_det)
    # The divergence of a fit with 40 knots is about 40 / (2 n) = 0.001 nats.
    assert -0.001 < gap.mean() < 0.01


@pytest.mark.parametrize("name", ["normal", "lognormal", "beta", "Cauchy"])
def test_the_derivative_is_that_of_the_map(name):
    x, _, lower, upper = draw(name, 1000)
    smooth = Smooth.of_values(x, lower, upper)
    x = np.sort(x)[1:-1]
    edge = np.minimum(*(np.inf if b is None else np.abs(x - b) for b in (lower, upper)))
    step = 1e-6 * np.minimum(1.0 + np.abs(x), edge)
    (high, _), (low, _) = smooth.forward(x + step), smooth.forward(x - step)
    np.testing.assert_allclose(smooth.forward(x)[1], np.log((high - low) / (2 * step)), atol=1e-4)


def test_no_number_overflows_and_no_sample_leaves_the_bounds():
    x, _, _, _ = draw("Cauchy", 1000)
    smooth = Smooth.of_values(x, None, None)
    y, log_det = smooth.forward(np.array([-1e300, 1e300]))
    assert np.isfinite(y).all() and np.isfinite(log_det).all()
    far = np.array([-10.0, 10.0])
    assert np.isfinite(smooth.inverse(far)).all()
    x, _, _, _ = draw("beta", 1000)
    found = Smooth.of_values(x, -2.0, 2.0).inverse(np.linspace(-40.0, 40.0, 101))
    assert found.min() > -2.0 and found.max() < 2.0


@pytest.mark.parametrize("tails", [(0.0, 0.0), (0.01, 0.02)])
def test_levels_have_the_distribution_function_of_their_cells(tails):
    p = np.array([0.5, 1e-6, 0.2, 0.3 - 1e-6])
    levels = Levels(p, tails, scale=2.0)
    v = np.linspace(0.01, 3.99, 200)
    y, log_det = levels.forward(v)
    inner = tails[0] + (1.0 - sum(tails)) * np.interp(v, range(5), np.append(0.0, np.cumsum(p)))
    np.testing.assert_allclose(stats.norm.cdf(y), inner, rtol=1e-12)
    np.testing.assert_allclose(levels.inverse(y), v, atol=1e-9)
    density = (1.0 - sum(tails)) * p[np.floor(v).astype(int)] / stats.norm.pdf(y)
    np.testing.assert_allclose(log_det, np.log(density), rtol=1e-9)


def test_tails_of_levels_decay_and_come_back():
    levels = Levels([1.0, 2.0], (0.01, 0.02), scale=3.0)
    v = np.array([-500.0, -7.3, 2.5, 400.0])
    y, log_det = levels.forward(v)
    log_tail = np.log([0.01, 0.01, 0.02, 0.02]) - np.array([500.0, 7.3, 0.5, 398.0]) / 3.0
    np.testing.assert_allclose(stats.norm.logcdf(-np.abs(y)), log_tail, rtol=1e-9)
    np.testing.assert_allclose(
        log_det, log_tail - np.log(3.0) - stats.norm.logpdf(y), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(levels.inverse(y), v, rtol=1e-9)


def test_every_coordinate_belongs_to_the_cell_between_its_edges():
    levels = Levels(RANDOM.random(7) ** 4 + 1e-9)
    low, high = levels.edges(np.arange(7))
    assert low[0] == -np.inf and high[-1] == np.inf
    np.testing.assert_array_equal(low[1:], high[:-1])
    middle = np.clip(low, -30.0, 30.0) / 2.0 + np.clip(high, -30.0, 30.0) / 2.0
    np.testing.assert_array_equal(np.floor(levels.inverse(middle)), np.arange(7))
