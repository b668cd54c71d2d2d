"""Tests that the examples of the page on extending run, and are loaded in a new process."""

import json
import pathlib
import re
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf.cli import main

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "pages" / "extending.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", PAGE.read_text(), re.M | re.S))
MODELS = {name: code for name, code in SECTIONS.items() if "\nmodel = " in code}

LOAD = """
import pathlib, runpy, sys
import keras, numpy as np
for folder in map(pathlib.Path, sys.argv[1:]):
    runpy.run_path(str(folder / "mine.py"))
    model = keras.models.load_model(folder / "model.keras")
    given = np.load(folder / "given.npz")
    np.testing.assert_array_equal(model.encode(given["x"]), given["z"])
    np.testing.assert_array_equal(model.log_prob(given["x"], seed=3), given["log_prob"])
    np.testing.assert_array_equal(model.sample(4, seed=5), given["samples"])
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Makes a folder with the module of each example."""
    root = tmp_path_factory.mktemp("extending")
    for name, code in MODELS.items():
        (root / name).mkdir()
        (root / name / "mine.py").write_text(code)
    return {name: root / name for name in MODELS}


@pytest.fixture(scope="module")
def trained(folders):
    """Returns the trained model of each example, the history of its loss, and its data."""
    return {name: train(folder) for name, folder in folders.items()}


def train(folder):
    model = model_of(folder)
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(x, batch_size=16, epochs=3, verbose=0).history["loss"]
    model.save(folder / "model.keras")
    given = {"log_prob": model.log_prob(x, seed=3), "samples": model.sample(4, seed=5)}
    np.savez(folder / "given.npz", x=x, z=model.encode(x), **given)
    return model, losses, x


def test_every_section_but_two_makes_a_model():
    assert set(SECTIONS) - set(MODELS) == {"A data source", "A preset"}


def model_of(folder):
    return runpy.run_path(str(folder / "mine.py"))["model"]


@pytest.mark.parametrize("name", SECTIONS)
def test_an_example_has_at_most_thirty_lines_beside_imports_and_blanks(name):
    lines = [line for line in SECTIONS[name].splitlines() if line.strip()]
    assert len([line for line in lines if not line.startswith(("import ", "from "))]) <= 30


@pytest.mark.parametrize("name", MODELS)
def test_an_example_trains_and_inverts(name, trained):
    model, losses, x = trained[name]
    assert np.isfinite(losses).all()
    assert all(bound < 1.0 for bound in model.lipschitz_bounds().values())
    found = model.flow.inverse(model.encode(x))
    np.testing.assert_allclose(found.x, x, atol=1e-4)
    assert (np.linalg.norm(found.x - x, axis=1) <= found.error_bound.numpy()).all()


@pytest.mark.usefixtures("trained")
def test_trained_examples_come_back_in_a_new_process(folders):
    command = [sys.executable, "-c", LOAD, *map(str, folders.values())]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("name", MODELS)
def test_the_map_of_an_example_has_the_jacobian_that_it_writes_out(name, folders, jacobian_of):
    model = model_of(folders[name])
    x = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    model.build(x.shape)
    for block in irn.layers.residual_blocks(model):
        block.log_det = irn.log_det.Exact()
    expected = np.linalg.slogdet(jacobian_of(model.flow, x))[1]
    found = model.flow.forward_and_log_det(x)[1]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_source_and_the_preset_train_by_the_command_and_load_in_a_new_process(
    tmp_path, monkeypatch
):
    # What the module registers in this process is forgotten after the test.
    monkeypatch.setattr(irn.training.presets, "_BY_NAME", {**irn.training.presets._BY_NAME})
    monkeypatch.setattr(irn.data.sources, "_KINDS", [*irn.data.sources._KINDS])
    module = tmp_path / "spiral.py"
    module.write_text(SECTIONS["A data source"] + "\n\n" + SECTIONS["A preset"])
    run, plugin = tmp_path / "run", ["--plugin", str(module)]
    train = ["train", "spiral-density", "--out", str(run), "--steps", "20", "steps_per_epoch=10"]
    trained = CliRunner().invoke(main, [*plugin, *train])
    assert trained.exit_code == 0, trained.output
    command = [sys.executable, "-m", "iresnet_tf", *plugin, "evaluate", str(run)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["nll"]
    # Another process may place the arrays elsewhere in memory, and round a last bit otherwise.
    result = json.loads((run / "result.json").read_text())["nll"]
    assert found["mean"] == pytest.approx(result["mean"], rel=1e-6)
    assert found["examples"] == 500 and np.isfinite(found["mean"])


def test_the_averaged_series_has_the_mean_of_both_values(folders):
    (block,) = irn.layers.residual_blocks(model_of(folders["An estimator"]))
    x = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    values = []
    for estimator in (block.log_det, irn.log_det.PowerSeries(5), irn.log_det.PowerSeries(6)):
        block.log_det = estimator
        values.append(block.forward_and_log_det(x, seed=2)[1])
    np.testing.assert_allclose(values[0], 0.5 * (values[1] + values[2]), atol=1e-6)
