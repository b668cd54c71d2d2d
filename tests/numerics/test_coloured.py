"""Tests the series whose first terms have probes of single colours."""

import math

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from log_det_examples import KINDS, by_power_series, same

from iresnet_tf.numerics.log_det import Coloured, Exact, Krylov, PowerSeries, RussianRoulette
from iresnet_tf.numerics.log_det.coloured import colours
from iresnet_tf.numerics.maps import Linearization


def terms_of(jacobian, count):
    """Returns the matrices ``(−1)^{k+1}/k Jᵏ`` for ``k ≤ count``."""
    powers = [np.linalg.matrix_power(jacobian, k) for k in range(1, count + 1)]
    return [(-1) ** (k + 1) / k * power for k, power in enumerate(powers, 1)]


def colour_of(event, counts):
    """Returns the colour of each coordinate in each of the first terms, ``[terms, D]``."""
    first = colours(event, min(counts[0], math.prod(event))).ravel()
    rows = [first]
    for count in counts[1:]:
        rows.append(rows[-1] % count)
    return rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [(4,), (5, 2), (6, 3, 3, 2)])
def test_the_estimate_is_that_of_the_formula(contraction, batch_for, jacobian_of, kind, counts):
    g, x = contraction(kind), batch_for(kind, 3)
    estimator, linearization = Coloured(PowerSeries(7), counts), g.bind().linearize(x)
    probes, weight = estimator.draw(x, tf.constant([5, 0]))
    whole = np.reshape(tf.reduce_sum(probes, 0), [3, -1])
    assert weight == 1.0 and np.all(np.abs(whole) == 1.0)
    expected = []
    for v, jacobian in zip(whole, jacobian_of(g, x).numpy(), strict=True):
        total = by_power_series(jacobian, v, 7)
        pairs = zip(terms_of(jacobian, len(counts)), colour_of(x.shape[1:], counts), strict=True)
        for term, colour in pairs:
            apart = [v * (colour == each) for each in np.unique(colour)]
            total += sum(each @ term @ each for each in apart) - v @ term @ v
        expected.append(total)
    np.testing.assert_allclose(estimator(linearization, 5), expected, atol=1e-12)


def test_krylov_spaces_take_colours_too(contraction, batch_for, jacobian_of):
    """With as many products as dimensions only the noise remains."""
    g, x, counts = contraction("dense"), batch_for("dense", 3), (3, 2)
    estimator = Coloured(Krylov(6), counts)
    probes, _ = estimator.draw(x, tf.constant([5, 0]))
    expected = []
    for v, jacobian in zip(np.sum(probes, 0), jacobian_of(g, x).numpy(), strict=True):
        total = v @ scipy.linalg.logm(np.eye(6) + jacobian).real @ v
        pairs = zip(terms_of(jacobian, 2), colour_of(x.shape[1:], counts), strict=True)
        for term, colour in pairs:
            apart = [v * (colour == each) for each in np.unique(colour)]
            total += sum(each @ term @ each for each in apart) - v @ term @ v
        expected.append(total)
    np.testing.assert_allclose(estimator(g.bind().linearize(x), 5, 0.8), expected, atol=1e-10)
    assert estimator.takes_spectral_bound and not Coloured(PowerSeries(2)).takes_spectral_bound


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_is_that_of_pairs_of_one_colour(contraction, batch_for, jacobian_of, kind):
    """``2 (‖S‖² − Σ Sᵢᵢ²)``, where only pairs of one colour count in the first terms."""
    g, x, counts = contraction(kind, coeff=0.8), batch_for(kind, 1), (3, 2)
    jacobian = jacobian_of(g, x)[0].numpy()
    kept = terms_of(jacobian, 12)
    for k, colour in enumerate(colour_of(x.shape[1:], counts)):
        kept[k] = kept[k] * (colour[:, np.newaxis] == colour)
    symmetric = sum(kept) / 2.0 + sum(kept).T / 2.0
    variance = 2.0 * (np.square(symmetric).sum() - np.square(np.diag(symmetric)).sum())
    copies = tf.repeat(x, 20_000, axis=0)
    drawn = Coloured(PowerSeries(12), counts)(g.bind().linearize(copies), 0).numpy()
    squares = np.square(drawn - np.trace(sum(kept)))
    assert abs(squares.mean() - variance) <= 4.0 * squares.std() / math.sqrt(len(squares))


def test_a_term_with_a_colour_for_each_coordinate_is_exact(contraction, batch_for, jacobian_of):
    g, x = contraction("dense"), batch_for("dense", 2)
    jacobians = jacobian_of(g, x).numpy()
    for counts in ((6, 6), (100, 100)):
        exact = [sum(map(np.trace, terms_of(jacobian, 2))) for jacobian in jacobians]
        estimate = Coloured(PowerSeries(2), counts)(g.bind().linearize(x), 3)
        np.testing.assert_allclose(estimate, exact, atol=1e-12)


def test_the_products_are_as_many_as_stated(contraction, batch_for):
    linearization, taken = contraction("conv").bind().linearize(batch_for("conv", 2)), []

    def counted(product):
        def count(v):
            taken.append(v.shape[0])
            return product(v)

        return count

    counting = Linearization(
        linearization.value,
        counted(linearization.jvp),
        lambda dtype: counted(linearization.vjp_in(dtype)),
    )
    Coloured(PowerSeries(9), (8, 4))(counting, 0)
    assert sum(taken) == 8 + 4 + 9 - 1


@pytest.mark.parametrize(
    "event,count", [((6, 6, 4), 8), ((6, 6, 4), 4), ((5, 7, 1), 5), ((12,), 5), ((9, 3), 6)]
)
def test_coordinates_of_a_colour_are_apart(event, count):
    colour = colours(event, count)
    assert colour.shape == event
    numbers = np.bincount(colour.ravel(), minlength=count)
    assert len(numbers) == count and numbers.min() > 0
    *grid, channels = event
    distinct = [len(set(pixel)) for pixel in colour.reshape(-1, channels)]
    assert set(distinct) == {min(channels, count)}
    if count >= 2 * channels:
        for axis in range(len(grid)):
            assert not np.any(np.diff(colour, axis=axis) == 0)


def test_the_bias_and_the_adaptation_are_those_of_the_series():
    estimator = Coloured(PowerSeries("auto", truncation=1e-3))
    found, series = estimator.for_target(0.7), estimator.series.for_target(0.7)
    assert same(found, Coloured(series))
    assert found.truncation_bound(0.6) == series.truncation_bound(0.6) > 0.0
    assert Coloured(RussianRoulette()).truncation_bound(0.9) == 0.0


@pytest.mark.parametrize(
    "series,counts,message",
    [
        (Exact(), (8, 4), r"series without colours.*Exact\(\)"),
        (Coloured(PowerSeries(3)), (8, 4), "series without colours.*Coloured"),
        (PowerSeries(3, probes=2), (8, 4), "probes itself.*probes=2"),
        (PowerSeries(3, distribution="gaussian"), (8,), "probes itself.*gaussian"),
        (PowerSeries(3, distribution=np.eye(3)[:1]), (8,), "probes itself"),
        (PowerSeries(3), (), r"one for each of the first terms.*\(\)"),
        (PowerSeries(3), 8, "tuple of integers.*8"),
        (PowerSeries(3), (8, 2.5), "number of colours is an integer.*2.5"),
        (PowerSeries(3), (8, 0), "number of colours is an integer.*0"),
        (PowerSeries(3), (4, 1), r"above 1.*\(4, 1\)"),
        (PowerSeries(3), (4, 8), r"none is larger than the one before.*\(4, 8\)"),
    ],
)
def test_wrong_colours_are_named(series, counts, message):
    with pytest.raises(ValueError, match=message):
        Coloured(series, counts)
