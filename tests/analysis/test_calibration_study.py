"""Tests the ranks of posteriors with linear flows, whose posteriors are known."""

import numpy as np
import pytest
from scipy import stats

import iresnet_tf as irn
from iresnet_tf import layers

CONTEXT = 0.8
"""Correlation of the parameter and its datum, both standard normal."""


def model_of(shift=0.0, spread=1.0):
    """Returns the posterior ``N(0.8 c + shift, spread² (1 − 0.8²))`` of both columns, as a flow.

    The block is ``y = x − 0.8 c``, because its linear layer is zero, and an ActNorm scales it.
    """
    g = layers.Contraction([layers.SpectralDense(2), layers.ContextBias(1)], context_shape=(1,))
    model = irn.models.ConditionalDensityModel(
        [layers.ResidualBlock(g, log_det=irn.log_det.Exact()), layers.ActNorm()], prior="fixed"
    )
    model.build((None, 2))
    for weight in g.weights:
        weight.assign(np.zeros(weight.shape) if "vector" not in weight.name else weight)
    bias = next(weight for weight in g.weights if "context_bias" in weight.path)
    bias.assign(np.full((1, 2), -CONTEXT))
    stddev = spread * np.sqrt(1.0 - CONTEXT**2)
    model.flow.parts[1].log_scale.assign(np.full(2, -np.log(stddev)))
    model.flow.parts[1].bias.assign(np.full(2, -shift))
    model.flow.parts[1].initialized.assign(True)
    return model


def pairs(count=2000):
    rng = np.random.default_rng(0)
    c = rng.normal(size=(count, 1))
    x = CONTEXT * c + np.sqrt(1.0 - CONTEXT**2) * rng.normal(size=(count, 2))
    return x.astype(np.float32), c.astype(np.float32)


def test_the_example_is_the_posterior_that_it_says():
    model, (x, c) = model_of(shift=0.3, spread=2.0), pairs(5)
    law = stats.norm(CONTEXT * c + 0.3, 2.0 * np.sqrt(1.0 - CONTEXT**2))
    found = model.log_prob(x, context=c)
    np.testing.assert_allclose(found, law.logpdf(x).sum(1), atol=1e-5)


def test_right_posteriors_have_uniform_ranks():
    study = irn.analysis.study_calibration(model_of(), *pairs(), draws=99)
    assert study.uniform and study.p_value > 0.01
    for column in study.columns:
        assert sum(column.counts) == 2000 and len(column.counts) == 20
        # Three standard errors of a fraction of 2,000.
        for level, found in zip(study.levels, column.coverage):
            assert abs(found - level) < 3.0 * np.sqrt(level * (1.0 - level) / 2000) + 0.01


@pytest.mark.parametrize("shift, spread", [(0.2, 1.0), (0.0, 1.3), (0.0, 0.75)])
def test_wrong_posteriors_are_found(shift, spread):
    study = irn.analysis.study_calibration(model_of(shift, spread), *pairs(), draws=99)
    assert not study.uniform
    counts = np.array([column.counts for column in study.columns])
    ends, middle = counts[:, [0, -1]].mean(), counts[:, 8:12].mean()
    if spread != 1.0:
        assert (ends < middle) == (spread > 1.0)
    else:
        assert (counts[:, :5].sum(1) > counts[:, -5:].sum(1)).all()


def test_the_statistic_is_that_of_scipy():
    study = irn.analysis.study_calibration(model_of(0.1), *pairs(400), draws=99, bins=10)
    for column in study.columns:
        expected = stats.chisquare(column.counts)
        np.testing.assert_allclose(
            [column.statistic, column.p_value], [expected.statistic, expected.pvalue], rtol=1e-10
        )
    smallest = min(column.p_value for column in study.columns)
    assert study.p_value == min(1.0, 2 * smallest)


def test_a_picture_shows_every_column():
    study = irn.analysis.study_calibration(
        model_of(), *pairs(50), draws=19, bins=2, names=("mass", "age")
    )
    titles = [axes.get_title() for axes in irn.analysis.plots.calibration(study).axes]
    assert [title.split(":")[0] for title in titles[:2]] == ["mass", "age"]
    assert study.as_dict()["columns"][0]["name"] == "mass"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"draws": 0}, "draws is an integer of at least 1; received 0"),
        ({"draws": 100}, "No number of bins up to 20 divides draws"),
        ({"draws": 99, "bins": 7}, "divides draws \\+ 1 = 100.*received 7"),
    ],
)
def test_impossible_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        irn.analysis.study_calibration(model_of(), *pairs(20), **arguments)


def test_data_that_do_not_fit_are_refused():
    x, c = pairs(20)
    with pytest.raises(ValueError, match=r"\(20, 2\) and \(10, 1\)"):
        irn.analysis.study_calibration(model_of(), x, c[:10])
    block = layers.ResidualBlock(layers.Contraction.mlp((4,)))
    with pytest.raises(ValueError, match="takes no context"):
        irn.analysis.study_calibration(irn.models.DensityModel([block]), x, c)
