"""The two-dimensional densities: seeds, streams, and each against its definition."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, spatial, stats
from sklearn import datasets

from iresnet_tf.data import densities

COUNT = 20_000


# Every density


def batches(count, *arguments, **keywords):
    return [batch.numpy() for batch in densities.stream(*arguments, **keywords).take(count)]


def test_names_are_those_of_the_field():
    assert " ".join(densities.NAMES) == (
        "swissroll circles moons 8gaussians pinwheel 2spirals checkerboard rings line cos"
    )


@pytest.mark.parametrize("name", densities.NAMES)
@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_any_count_gives_finite_float32_points(name, count):
    points = densities.sample(name, count, seed=0)
    assert points.shape == (count, 2) and points.dtype == np.float32
    assert np.all(np.isfinite(points))


@pytest.mark.parametrize("name", densities.NAMES)
def test_the_seed_decides_the_points(name):
    points = densities.sample(name, 50, seed=3)
    np.testing.assert_array_equal(points, densities.sample(name, 50, seed=3))
    assert not np.any(np.all(points == densities.sample(name, 50, seed=4), axis=1))


@pytest.mark.parametrize("name", densities.NAMES)
def test_sampling_leaves_numpys_global_generator_alone(name):
    before = np.random.get_state()[1].copy()
    densities.sample(name, 10, seed=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("name", densities.NAMES)
def test_skip_equals_dropping_batches(name):
    whole = batches(5, name, 8, seed=1)
    np.testing.assert_array_equal(whole[3:], batches(2, name, 8, seed=1, skip=3))


def test_a_stream_starts_again_from_its_first_batch():
    stream = densities.stream("moons", 8, seed=1).take(2)
    np.testing.assert_array_equal(list(stream.as_numpy_iterator()), batches(2, "moons", 8, seed=1))


def test_a_stream_is_endless_with_a_static_shape():
    stream = densities.stream("moons", 8, seed=1)
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY
    assert stream.element_spec == tf.TensorSpec([8, 2], tf.float32)


@pytest.mark.parametrize("name", densities.NAMES)
def test_no_point_is_drawn_twice_in_training_samples_and_test_set(name):
    draws = [densities.test_set(name, 100), densities.sample(name, 100, seed=0)]
    for seed in (0, 1, 2, 2**32, 2**32 + 1):
        draws += batches(3, name, 100, seed=seed)
    points = np.concatenate(draws)
    # float32 has so few values on a line that a rare tie is no repetition of the generator
    assert len(np.unique(points, axis=0)) >= len(points) - 2


@pytest.mark.parametrize("name", densities.NAMES)
def test_the_test_set_is_fixed_and_has_10000_points(name):
    points = densities.test_set(name)
    assert points.shape == (10_000, 2) and points.dtype == np.float32
    np.testing.assert_array_equal(points, densities.test_set(name))


@pytest.mark.parametrize("name", densities.NAMES)
def test_the_law_of_a_point_does_not_depend_on_the_count(name):
    single = np.concatenate([densities.sample(name, 1, seed=seed) for seed in range(800)])
    many = densities.sample(name, 4000, seed=0)
    for direction in ((1, 0), (0, 1), (1, 1)):
        assert stats.ks_2samp(single @ direction, many @ direction).pvalue > 1e-4


@pytest.mark.parametrize(
    "draw",
    [
        lambda name: densities.sample(name, 10, seed=0),
        lambda name: densities.stream(name, 10, seed=0),
        densities.test_set,
        densities.entropy,
    ],
)
def test_an_unknown_name_raises_and_lists_the_known_ones(draw):
    with pytest.raises(ValueError, match="'gauss'.*swissroll.*checkerboard.*cos"):
        draw("gauss")


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_raises(count):
    with pytest.raises(ValueError, match="count must be at least 1"):
        densities.sample("moons", count, seed=0)
    with pytest.raises(ValueError, match="count must be at least 1"):
        densities.test_set("moons", count)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        densities.stream("moons", count, seed=0)


def test_a_negative_seed_or_skip_raises():
    with pytest.raises(ValueError, match="seed"):
        densities.sample("moons", 1, seed=-1)
    with pytest.raises(ValueError, match="seed"):
        densities.stream("moons", 1, seed=-1)
    with pytest.raises(ValueError, match="skip"):
        densities.stream("moons", 1, seed=0, skip=-1)


# Each density against its definition


def draw(name):
    return densities.sample(name, COUNT, seed=12).astype(np.float64)


def assert_mean(values, expected):
    """The mean lies within four standard errors of its expectation."""
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / math.sqrt(len(values))


def assert_equally_likely(labels, classes):
    counts = np.bincount(labels, minlength=classes)
    assert len(counts) == classes
    assert stats.chisquare(counts).pvalue > 1e-4


SCIKIT_LEARN = {
    "swissroll": lambda state: (
        datasets.make_swiss_roll(COUNT, noise=1.0, random_state=state)[0][:, [0, 2]] / 5
    ),
    "circles": lambda state: (
        datasets.make_circles(COUNT, factor=0.5, noise=0.08, random_state=state)[0] * 3
    ),
    "moons": lambda state: (
        datasets.make_moons(COUNT, noise=0.1, random_state=state)[0] * 2 + [-1, -0.2]
    ),
}


@pytest.mark.parametrize("name", SCIKIT_LEARN)
def test_points_follow_the_law_of_scikit_learns(name):
    points, reference = draw(name), SCIKIT_LEARN[name](0)
    for direction in ((1, 0), (0, 1), (1, 1), (1, -1)):
        assert stats.ks_2samp(points @ direction, reference @ direction).pvalue > 1e-3
    assert stats.ks_2samp(*(np.hypot(*p.T) for p in (points, reference))).pvalue > 1e-3


def test_swissroll_has_its_radius_equal_to_its_angle():
    x, y = 5 * draw("swissroll").T
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    turns = np.round((radius - angle) / (2 * math.pi))
    deviation = radius - (angle + 2 * math.pi * turns)
    assert abs(np.mean(deviation)) < 0.1
    assert np.std(deviation) == pytest.approx(1.0, rel=0.05)
    assert_mean(radius**2, 9.75 * math.pi**2 + 2)  # E t² + noise in two coordinates


def test_circles_have_radii_3_and_one_and_a_half_and_noise_024():
    radius = np.hypot(*draw("circles").T)
    outer = radius > 2.25
    assert np.mean(outer) == pytest.approx(0.5, abs=0.01)
    assert np.mean(radius[outer]) == pytest.approx(3.0, abs=0.02)
    assert np.mean(radius[~outer]) == pytest.approx(1.5, abs=0.03)
    assert np.std(radius[outer]) == pytest.approx(0.24, rel=0.05)
    assert_mean(radius**2, (3.0**2 + 1.5**2) / 2 + 2 * 0.24**2)


def test_moons_are_point_symmetric_half_circles_of_radius_2_and_noise_02():
    points = draw("moons")
    assert_mean(points[:, 0], 0.0)
    assert_mean(points[:, 1], 0.3)
    angle = np.linspace(0, math.pi, 2000)
    upper = np.stack([2 * np.cos(angle) - 1, 2 * np.sin(angle) - 0.2], axis=1)
    distance, nearest = spatial.cKDTree(np.concatenate([upper, (0, 0.6) - upper])).query(points)
    assert np.sqrt(np.mean(distance**2)) == pytest.approx(0.2, rel=0.05)
    assert np.mean(nearest < 2000) == pytest.approx(0.5, abs=0.01)


def test_8gaussians_have_their_variance_and_equally_likely_modes():
    points = draw("8gaussians")
    angle = 2 * math.pi * np.arange(8) / 8
    centres = 4 / 1.414 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    distance, mode = spatial.cKDTree(centres).query(points)
    assert np.mean(distance**2) == pytest.approx(2 * (0.5 / 1.414) ** 2, rel=0.03)
    assert_mean(np.sum(points**2, axis=1), (4.0**2 + 2 * 0.5**2) / 1.414**2)
    assert_equally_likely(mode, 8)


def test_pinwheel_unwinds_into_five_equal_arms():
    def unwound(x, y):
        return np.arctan2(y, x) + 0.25 * np.exp(np.hypot(x, y))

    x, y = draw("pinwheel").T / 2
    angle = unwound(x, y)
    assert_mean(x**2 + y**2, 1 + 0.3**2 + 0.1**2)
    assert_equally_likely(np.round(angle * 5 / (2 * math.pi)).astype(int) % 5, 5)
    # the mean direction of 5 angles against its integral over one straight arm (f_0, f_1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    along, across = np.meshgrid(1 + 0.3 * nodes, 0.1 * nodes, indexing="ij")
    straight = unwound(along, across) - 0.25 * np.exp(along)
    expected = weights @ np.cos(5 * straight) @ weights / np.sum(weights) ** 2
    assert_mean(np.cos(5 * angle), expected)
    assert_mean(np.sin(5 * angle), weights @ np.sin(5 * straight) @ weights / np.sum(weights) ** 2)


def test_2spirals_follow_two_opposite_arms():
    points = 3 * draw("2spirals")
    angle = np.linspace(0, 3 * math.pi, 4000)[:, None]
    arm = angle * np.concatenate([-np.cos(angle), np.sin(angle)], axis=1) + 0.25
    distance, nearest = spatial.cKDTree(np.concatenate([arm, -arm])).query(points)
    # off the curve: uniform (variance 1/48) and Gaussian (0.3²), along one direction
    assert np.sqrt(np.mean(distance**2)) == pytest.approx(math.sqrt(1 / 48 + 0.09), rel=0.07)
    assert np.mean(nearest < 4000) == pytest.approx(0.5, abs=0.01)


def test_2spirals_have_the_second_moment_of_their_definition():
    # |(-n cos n + U/2, n sin n + U'/2)|² with n of density 2 n / (3 pi)² on [0, 3 pi]
    def mean_over_arm(function):
        limit = 3 * math.pi
        return integrate.quad(lambda n: function(n) * 2 * n / limit**2, 0, limit)[0]

    arm = mean_over_arm(lambda n: n**2 + 0.5 * n * (math.sin(n) - math.cos(n)))
    points = 3 * draw("2spirals")
    assert_mean(np.sum(points**2, axis=1), arm + 2 * 0.25 / 3 + 2 * 0.3**2)


def test_checkerboard_is_uniform_on_its_8_squares():
    points = draw("checkerboard") / 2
    column, row = np.floor(points).astype(int).T
    assert np.all((column >= -2) & (column < 2) & (row >= -2) & (row < 2))
    assert np.all((column + row) % 2 == 0)
    squares = {(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0}
    _, square = np.unique((column + 2) * 4 + row + 2, return_inverse=True)
    assert_equally_likely(square, len(squares))
    for offset in (points - np.floor(points)).T:
        assert stats.kstest(offset, "uniform").pvalue > 1e-3


def test_rings_have_four_equally_likely_radii_and_noise_008():
    points = draw("rings")
    radius = np.hypot(*points.T)
    ring = np.digitize(radius, [1.125, 1.875, 2.625])
    np.testing.assert_array_equal(np.bincount(ring), 4 * [COUNT // 4])
    np.testing.assert_allclose(
        [np.mean(radius[ring == k]) for k in range(4)], [0.75, 1.5, 2.25, 3.0], atol=0.01
    )
    assert np.std(radius - 0.75 * (ring + 1)) == pytest.approx(0.08, rel=0.03)
    angle = np.arctan2(*points.T) / (2 * math.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name, curve", [("line", lambda x: x), ("cos", lambda x: 2.5 * np.sin(x))])
def test_degenerate_points_lie_on_their_curve(name, curve):
    x, y = draw(name).T
    np.testing.assert_allclose(y, curve(x), atol=1e-6)
    assert stats.kstest(x, stats.uniform(-2.5, 5.0).cdf).pvalue > 1e-3


# Entropies


def test_checkerboards_entropy_is_the_logarithm_of_its_area():
    assert densities.entropy("checkerboard") == pytest.approx(math.log(8 * 2 * 2), abs=1e-12)


def test_8gaussians_entropy_agrees_with_gauss_hermite_quadrature():
    stddev = 0.5 / 1.414
    angle = 2 * math.pi * np.arange(8) / 8
    centres = 4 / 1.414 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    # By symmetry H = E[-ln p(x)] over the first Gaussian alone.
    x = centres[0] + stddev * np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1)
    log_kernels = -0.5 * np.sum((x[..., None, :] - centres) ** 2, axis=-1) / stddev**2
    log_density = np.logaddexp.reduce(log_kernels, axis=-1)
    log_density -= math.log(8 * 2 * math.pi * stddev**2)
    expected = -weights @ log_density @ weights / np.sum(weights) ** 2
    assert densities.entropy("8gaussians") == pytest.approx(expected, abs=1e-6)


def test_only_these_two_entropies_are_known():
    known = {name for name in densities.NAMES if densities.entropy(name) is not None}
    assert known == {"checkerboard", "8gaussians"}
