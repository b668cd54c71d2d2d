"""Tests the map of every column to a distribution close to the standard normal one."""

import numpy as np
from scipy import stats

from iresnet_tf.sklearn.columns import JohnsonColumns, constant_columns


def skewed(rows=4000):
    rng = np.random.default_rng(0)
    return np.stack(
        [
            rng.normal(2.0, 3.0, rows),
            np.exp(rng.normal(size=rows)),
            rng.standard_t(2.0, rows),
            1e9 + 1e-3 * rng.normal(size=rows),
            1e-9 * rng.gamma(2.0, size=rows),
        ],
        1,
    )


def test_the_columns_become_standard_normal_as_far_as_johnsons_system_goes():
    y, _ = JohnsonColumns(skewed()).transform(skewed())
    # 1e9 ± 1e-3 is rounded to 1e-4 of its standard deviation.
    np.testing.assert_allclose(y.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(y.std(0), 1.0, atol=1e-4)
    # Skewness and excess kurtosis have standard errors of 0.04 and 0.08.
    assert np.abs(stats.skew(y)).max() < 0.2 and np.abs(stats.kurtosis(y)).max() < 0.5
    assert stats.skew(skewed())[1] > 3.0 and stats.kurtosis(skewed())[2] > 10.0


def test_the_likelihood_is_the_one_that_scipy_finds():
    x = stats.johnsonsu(1.5, 1.2, loc=4.0, scale=2.0).rvs(5000, random_state=0)
    y, log_slope = JohnsonColumns(x[:, None]).transform(x[:, None])
    found = np.mean(stats.norm.logpdf(y[:, 0]) + log_slope)
    best = stats.johnsonsu(*stats.johnsonsu.fit(x)).logpdf(x).mean()
    assert abs(found - best) < 1e-4


def test_the_slope_is_the_derivative_and_the_inverse_returns():
    x = skewed()
    columns = JohnsonColumns(x)
    y, _ = columns.transform(x)
    # The differences of 1e9 ± 1e-3 would have no digits.
    others = x[:, [0, 1, 2, 4]]
    part = JohnsonColumns(others)
    _, log_slope = part.transform(others)
    step = 1e-4 * np.abs(part.parameters[1] * part.parameters[3])
    slope = (part.transform(others + step)[0] - part.transform(others - step)[0]) / (2.0 * step)
    np.testing.assert_allclose(np.log(slope).sum(1), log_slope, atol=1e-5, rtol=0)
    np.testing.assert_allclose(columns.inverse(y), x, rtol=1e-9)


def test_constant_columns_are_named():
    x = np.array([[1.0, 5.0, 0.0], [2.0, 5.0, 0.0], [4.0, 5.0, 0.0]])
    assert constant_columns(x, None) == ["number 1", "number 2"]
    assert constant_columns(x, ["age", "sex", "mass"]) == ["'sex'", "'mass'"]


def test_a_column_of_two_values_and_one_with_a_far_outlier_stay_finite():
    x = np.stack([np.arange(100) % 2, np.r_[np.arange(99.0), 1e12]], 1)
    y, log_slope = JohnsonColumns(x).transform(x)
    assert np.isfinite(y).all() and np.isfinite(log_slope).all()
    assert np.ptp(y[:99, 1]) > 1.0
