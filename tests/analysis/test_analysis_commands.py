"""The commands that draw and study a run."""

import json

import pytest
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf.analysis import (
    inverse_study,
)
from iresnet_tf.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small runs: points, and digits classified."""
    folder = tmp_path_factory.mktemp("runs")
    points = ["model.blocks=2", "model.width=8", "model.depth=1", "intra_op_threads=none"]
    toy = irn.presets.get("toy-moons", points).with_length(steps=2)
    irn.training.train(toy, folder / "toy")
    classifier = irn.presets.get(
        "digits-classifier", ["model.blocks=1,1", "model.width=4", "intra_op_threads=none"]
    )
    irn.training.train(
        classifier.with_length(steps=2), folder / "classifier", data_dir=folder / "tfds"
    )
    return folder


@pytest.mark.parametrize(
    "run, command",
    [
        ("toy", ["analyze", "spectrum"]),
        ("toy", ["analyze", "log-det"]),
        ("toy", ["analyze", "inverse"]),
        ("toy", ["interpolate"]),
        ("toy", ["sample"]),
        ("toy", ["reconstruct"]),
        ("classifier", ["analyze", "spectrum"]),
        ("classifier", ["analyze", "inverse"]),
        ("classifier", ["interpolate"]),
        ("classifier", ["reconstruct"]),
    ],
)
def test_each_mode_writes_a_picture_and_its_numbers(run, command, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(inverse_study, "ITERATIONS", (1, 5))
    name, *study = command
    picture = tmp_path / "picture.png"
    arguments = [name, runs / run, *study, "--out", picture, "--data-dir", runs / "tfds"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert json.loads(picture.with_suffix(".json").read_text())
    picture.unlink()
    again = CliRunner().invoke(main, [str(each) for each in arguments])
    assert again.exit_code != 0 and "exists" in again.output


@pytest.mark.parametrize("options", [[], ["--spherical"]])
def test_paths_are_arcs_where_asked(options, runs, tmp_path):
    picture = tmp_path / "paths.png"
    options = ["--pairs", 2, "--steps", 6, "--out", picture, *options]
    arguments = ["interpolate", runs / "toy", *options]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    numbers = json.loads(picture.with_suffix(".json").read_text())
    assert set(numbers) == {"steps", "pairs", "spherical", "max_abs_error"}
    assert numbers["spherical"] == ("--spherical" in options) and numbers["max_abs_error"] < 1e-3
    assert (numbers["pairs"], numbers["steps"]) == (2, 6)


@pytest.mark.parametrize(
    "command, message",
    [(["sample"], "no density"), (["analyze", "log-det"], "no log-determinant")],
)
def test_a_classifier_says_what_it_cannot_do(command, message, runs, tmp_path):
    name, *study = command
    arguments = [name, runs / "classifier", *study, "--out", tmp_path / "picture.png"]
    arguments += ["--data-dir", runs / "tfds"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code != 0 and message in result.output
    assert not (tmp_path / "picture.png").exists()
