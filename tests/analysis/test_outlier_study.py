"""Scores of outliers, against closed forms."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import integrate, stats

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.analysis import plots, study_outliers
from iresnet_tf.analysis.likelihood import negative_log_likelihoods
from iresnet_tf.cli import main
from iresnet_tf.data import ArraySource, draw_outliers, sources
from iresnet_tf.data.outliers import with_channels, with_levels


def standard_normal(dimension):
    """A model that is known: a fixed prior on an identity."""
    model = irn.models.DensityModel([layers.ActNorm()], prior="fixed", seed=0)
    model.build((None, dimension))
    return model


def normal(count, dimension, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=(count, dimension))).astype("float32")


def chance_above(inside, outside):
    """The area under a ROC curve by its meaning, ties counted half."""
    above = outside[:, np.newaxis] > inside
    return np.mean(above + 0.5 * (outside[:, np.newaxis] == inside))


def test_the_area_is_the_chance_that_an_outlier_scores_higher():
    dimension = 64
    x, typical = normal(200, dimension), normal(300, dimension, seed=1)
    others = {"wide": normal(150, dimension, 1.1, 2), "narrow": normal(150, dimension, 0.9, 3)}
    study = study_outliers(standard_normal(dimension), typical, x, others)

    def nats(x):
        return -stats.norm.logpdf(x).sum(1)

    entropy = nats(typical).mean()
    assert study.unit == "nats"
    assert study.entropy == pytest.approx(entropy, rel=1e-5)
    assert study.inside.mean == pytest.approx(nats(x).mean(), rel=1e-5)
    for curve in study.curves:

        def score(x, typicality=curve.score == "typicality"):
            return np.abs(nats(x) - entropy) if typicality else nats(x)

        expected = chance_above(score(x), score(others[curve.against]))
        # In float32 a few pairs may change places.
        assert curve.auc == pytest.approx(expected, abs=1e-3)
        area = integrate.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
        assert area == pytest.approx(curve.auc)
    areas = {(curve.score, curve.against): curve.auc for curve in study.curves}
    # Nearer to the mode than the data are: likelier, and atypical.
    assert areas["likelihood", "narrow"] < 0.4 < 0.6 < areas["typicality", "narrow"]
    assert areas["likelihood", "wide"] > 0.6
    assert {axes.get_title() for axes in plots.outliers(study).axes} == {"likelihood", "typicality"}


def test_levels_are_scored_in_bits_a_dimension():
    model = irn.models.DensityModel(
        [], prior="fixed", preprocessing=[layers.Dequantize(4), layers.Center()], seed=0
    )
    model.build((None, 3))
    x = np.random.default_rng(0).integers(0, 4, (50, 3)).astype("float32")
    study = study_outliers(model, x[:20], x[20:40], {"rest": x[40:]})
    nats = negative_log_likelihoods(model, x)[0] / (3 * np.log(2.0))
    assert study.unit == "bits/dim"
    assert study.entropy == pytest.approx(nats[:20].mean())
    assert study.inside.mean == pytest.approx(nats[20:40].mean())
    assert study.others["rest"].standard_deviation == pytest.approx(nats[40:].std())


def test_noise_and_constants_have_the_levels_and_the_shape():
    inside = np.zeros((300, 4, 4, 2), np.float32)
    noise, constant = (draw_outliers(name, inside, levels=17) for name in ("noise", "constant"))
    for x in (noise, constant):
        assert x.shape == inside.shape and x.dtype == np.float32
        assert set(np.unique(x)) == set(range(17))
    assert np.all(constant == constant[:, :1, :1, :1])
    assert abs(np.corrcoef(noise[:, 0, 0, 0], noise[:, 0, 1, 0])[0, 1]) < 0.2
    points = normal(100, 2)
    box = draw_outliers("noise", points)
    assert np.all(box >= points.min(0)) and np.all(box <= points.max(0))


def test_another_set_comes_with_the_shape_and_levels_of_the_model_s(monkeypatch):
    colour = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3)).astype(np.float32)
    asked = {}

    def get(name, data_dir=None, size=None):
        asked.update(name=name, size=size)
        parts = {split: (colour, None) for split in ("train", "test")}
        return ArraySource(name, parts, levels=256)

    monkeypatch.setattr(sources, "get", get)
    found = draw_outliers("cifar10", np.zeros((5, 8, 8, 1)), levels=17)
    assert asked == {"name": "cifar10", "size": 8}
    red, green, blue = np.moveaxis(colour[:5], -1, 0)
    grey = np.round(0.299 * red + 0.587 * green + 0.114 * blue)
    np.testing.assert_array_equal(found[..., 0], np.floor(grey * 17 / 256))
    assert found.max() <= 16
    with pytest.raises(ValueError, match="not both images"):
        draw_outliers("cifar10", np.zeros((5, 2)))


def test_grey_becomes_colour_and_levels_keep_their_order():
    grey = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(with_channels(grey, 3)[..., 2], grey[..., 0])
    assert set(np.unique(with_levels(grey, 16, 4))) == {0, 1, 2, 3}


def test_the_command_writes_curves_and_numbers(tmp_path):
    run = tmp_path / "run"
    small = ["model.blocks=1", "model.width=4", "model.depth=1", "intra_op_threads=none"]
    train = ["train", "toy-moons", *small, "--out", run, "--steps", 2, "--batch-size", 32]
    analyze = ["analyze", run, "ood", "--examples", 40, "--against", "noise"]
    for command in (train, [*analyze, "--against", "toy-rings"]):
        result = CliRunner().invoke(main, [str(each) for each in command])
        assert result.exit_code == 0, result.output
    assert (run / "analysis" / "ood.png").read_bytes()[:4] == b"\x89PNG"
    numbers = json.loads((run / "analysis" / "ood.json").read_text())
    assert set(numbers["others"]) == {"noise", "toy-rings"} and len(numbers["curves"]) == 4
    assert numbers["inside"]["examples"] == 40


def test_a_classifier_scores_nothing():
    model = irn.models.Classifier([layers.ActNorm()], 2)
    model.build((None, 4, 4, 1))
    with pytest.raises(ValueError, match="no density"):
        study_outliers(model, None, None, {})
