"""Trains a conditional density of a table by the command, and gives it to every other command."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import invoke

import iresnet_tf as irn
from iresnet_tf.data import tables
from iresnet_tf.training.assembly import build_conditioner, build_layers
from iresnet_tf.training.configuration import parse

SMALL = [
    *("model.blocks=1", "model.width=8", "model.depth=1", "task.conditioner=8"),
    *("intra_op_threads=none", "steps_per_epoch=60", "batch_size=64", "optimizer.warmup_steps=5"),
]
RNG = np.random.default_rng(0)
C = RNG.normal(50.0, 10.0, size=(600, 2))
X = np.stack([C[:, 0] + RNG.normal(size=600), C[:, 1] + RNG.normal(size=600)], 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditional")
    tables.write(folder / "table.csv", ("c1", "x1", "c2", "x2"), np.stack([C[:, 0], X[:, 0], C[:, 1], X[:, 1]], 1))  # fmt: skip  # noqa: E501
    options = ["--csv", folder / "table.csv", "--context", "c1,c2", "--out", folder / "run"]
    done = invoke("train", "conditional", *options, "--steps", 120, *SMALL)
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_it_learns_more_than_the_density_without_the_context(run):
    result = json.loads((run / "result.json").read_text())
    # Without c, each x has variance 101; with c, variance 1: 1.42 and 3.73 nats a column.
    assert 2.8 < result["nll"]["mean"] < 6.0
    assert result["reconstruction"]["converged"] and result["lipschitz"]["certified_max"] < 1.0
    assert list((run / "images").glob("samples-*.png"))
    evaluated = invoke("evaluate", run)
    mean = json.loads(evaluated.output)["nll"]["mean"]
    assert mean == pytest.approx(result["nll"]["mean"], rel=1e-6)


def test_the_loaded_model_has_the_likelihood_of_the_result(run):
    model = irn.load(run)
    source = irn.training.open_source(irn.training.RunFolder(run).read_config()["preset"])
    x, context = source.examples("test")
    result = json.loads((run / "result.json").read_text())
    mean = -np.mean(model.log_prob(x, context=context))
    assert mean == pytest.approx(result["nll"]["mean"], abs=1e-4)


def test_samples_follow_the_context_that_is_given(run, tmp_path):
    given = ["--given", "c1=40,c2=60", "--given", "c2=40,c1=60"]
    done = invoke("sample", run, "--count", 200, *given, "--out", tmp_path / "s.csv")
    assert done.exit_code == 0, done.output
    table = tables.load(tmp_path / "s.csv")
    assert table.columns == ("c1", "c2", "x1", "x2") and len(table.values) == 400
    first, second = table.values[:200], table.values[200:]
    assert (first[:, :2] == [40.0, 60.0]).all() and (second[:, :2] == [60.0, 40.0]).all()
    # The contexts differ by 20 in both columns; 200 samples have errors below 1.
    shift = second[:, 2:].mean(0) - first[:, 2:].mean(0)
    assert shift[0] > 5.0 and shift[1] < -5.0
    done = invoke("sample", run, "--count", 5, "--given", "c1=1", "--out", tmp_path / "t.csv")
    assert done.exit_code == 1 and "has the columns c1, c2; received c1" in done.output
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("name", ["s.csv", pytest.param("s.png", marks=pytest.mark.slow)])
def test_without_a_context_samples_have_those_of_test_rows(run, name, tmp_path):
    done = invoke("sample", run, "--count", 20, "--out", tmp_path / name)
    assert done.exit_code == 0, done.output
    if name == "s.csv":
        rows = tables.load(tmp_path / name).values
        known = np.float32(C)
        assert all((np.abs(known - row[:2]).max(1) < 1e-4).any() for row in rows)


@pytest.mark.parametrize(
    "study",
    [
        "calibration",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("spectrum", "log-det", "inverse")),
    ],
)
def test_the_studies_take_it(run, study):
    done = invoke("analyze", run, study, "--examples", 40)
    assert done.exit_code == 0, done.output
    numbers = json.loads((run / "analysis" / f"{study}.json").read_text())
    if study == "calibration":
        assert [each["name"] for each in numbers["columns"]] == ["x1", "x2"]
    if study == "inverse":
        assert numbers["curves"][0]["error"][-1] < 1e-3


@pytest.mark.slow
def test_it_certifies_and_reconstructs(run, tmp_path):
    assert invoke("certify", run).exit_code == 0
    done = invoke("reconstruct", run, "--count", 8, "--out", tmp_path / "r.png")
    assert done.exit_code == 0 and json.loads((tmp_path / "r.json").read_text())["converged"]
    for command, message in (
        (["analyze", run, "ood", "--out", tmp_path / "ood.png"], "depends on a context"),
        (["interpolate", run, "--out", tmp_path / "i.png"], "take no context"),
    ):
        done = invoke(*command)
        assert done.exit_code == 1 and message in done.output


def test_the_export_takes_contexts(run, tmp_path):
    assert invoke("export", run, "--out", tmp_path / "served").exit_code == 0
    served = tf.saved_model.load(str(tmp_path / "served")).signatures
    model = irn.load(run)
    x, c = tf.constant(X[:5], tf.float32), tf.constant(C[:5], tf.float32)
    z = served["encode"](x=x, context=c)["z"]
    np.testing.assert_allclose(z, model.encode(x, context=c), atol=1e-5)
    np.testing.assert_allclose(served["decode"](z=z, context=c)["x"], x, rtol=1e-4)
    log_prob = served["log_prob"](x=x, context=c, seed=tf.constant(0))["log_prob"]
    np.testing.assert_allclose(log_prob, model.log_prob(x, context=c), atol=1e-4)
    options = {"count": tf.constant(3), "temperature": tf.constant(1.0), "seed": tf.constant(4)}
    samples = served["sample"](context=c, **options)["x"]
    assert samples.shape == (5, 3, 2)
    np.testing.assert_allclose(samples, model.sample(3, seed=4, context=c), rtol=1e-4)
    facts = json.loads((tmp_path / "served" / "signatures.json").read_text())
    assert facts["context_shape"] == [2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["conditional"], "--csv FILE --context COLUMNS"),
        (["conditional", "--csv", "{csv}", "--context", "c9"], "no column 'c9'"),
        (["tabular", "--csv", "{csv}", "--context", "c1"], "table takes none; received c1"),
        (["toy-moons", "task.kind=conditional"], "toy-moons has no contexts"),
    ],
)
def test_what_cannot_be_trained_writes_nothing(run, arguments, message, tmp_path):
    arguments = [text.format(csv=run.parent / "table.csv") for text in arguments]
    done = invoke("train", *arguments, "--out", tmp_path / "new")
    assert done.exit_code == 1 and message in done.output, done.output
    assert not (tmp_path / "new").exists()


def test_a_run_without_a_conditional_act_norm_keeps_its_layers(run):
    config = irn.training.RunFolder(run).read_config()["preset"].model_dump()
    source = irn.training.open_source(parse(config))

    def kinds():
        preset = parse(config)
        return list(map(type, build_layers(preset.model, **build_conditioner(preset, source))))

    new, norm = kinds(), irn.layers.ConditionalActNorm
    # Runs of older versions have no such field.
    del config["task"]["act_norm"]
    assert new.index(norm) == 1 and kinds() == [kind for kind in new if kind is not norm]


def test_a_context_is_standardized(run):
    layers = irn.layers.blocks.innermost(irn.load(run))
    (conditioner,) = {layer.conditioner for layer in layers if layer.conditioner is not None}
    assert isinstance(conditioner.layers[0], keras.layers.Normalization)
    standard = np.asarray(conditioner.layers[0](np.float32(C)))
    np.testing.assert_allclose(standard.mean(0), 0.0, atol=0.1)
    np.testing.assert_allclose(standard.std(0), 1.0, atol=0.1)
