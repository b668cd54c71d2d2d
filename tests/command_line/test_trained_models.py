"""Tests that every command takes a trained model that ships by its name."""

import json

import numpy as np
import pytest
from commands import invoke

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.cli import runs
from iresnet_tf.data import ArraySource

CLASSES = {
    "density": irn.models.DensityModel,
    "classifier": irn.models.Classifier,
    "hybrid": irn.models.HybridModel,
}


@pytest.mark.parametrize("name", training.pretrained_names())
def test_a_name_opens_the_model_and_the_data_of_its_card(name, tmp_path, monkeypatch):
    asked = {}

    def get(name, **options):
        asked.update(name=name, **options)
        return ArraySource(name, {"train": (np.zeros([1, 2]), None)})

    threads = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(irn.data, "get", get)
    monkeypatch.setattr(runs, "set_threads", threads.append)
    monkeypatch.setattr(training.presets, "get", None)  # A preset of that name may be another one.
    model, source = runs.open_run(runs.pathlib.Path(name))
    preset = training.card(name).run.preset
    assert source.name == asked["name"] == preset.data.name
    assert asked["validation_examples"] == preset.data.validation_examples
    assert threads == [preset.intra_op_threads]
    assert type(model) is CLASSES[preset.task.kind]


COMMANDS = {
    "evaluate": ["--examples", 20, "--passes", 1],
    "certify": [],
    "sample": ["--count", 2, "--out", "drawn.png"],
    "reconstruct": ["--count", 2, "--out", "drawn.png"],
    "interpolate": ["--pairs", 1, "--steps", 3, "--out", "drawn.png"],
    "analyze": ["spectrum", "--out", "drawn.png"],
    "export": ["--out", "exported"],
}


# All commands open a model in the same way; the rest is tested with other models.
_QUICK = ("evaluate", "certify", "sample")


@pytest.mark.parametrize(
    "command",
    [each if each in _QUICK else pytest.param(each, marks=pytest.mark.slow) for each in COMMANDS],
)
def test_a_command_takes_the_name_of_a_trained_model(command, tmp_path, monkeypatch, data_dir):
    monkeypatch.chdir(tmp_path)
    where = [] if command in ("certify", "export") else ["--data-dir", data_dir]
    done = invoke(command, "digits-density", *COMMANDS[command], *where)
    assert done.exit_code == 0, done.output
    if command == "evaluate":
        assert 1.5 < json.loads(done.stdout)["bits_per_dim"]["mean"] < 2.5
    elif command == "certify":
        assert json.loads(done.stdout)["certified"]
    else:
        assert (tmp_path / COMMANDS[command][-1]).exists()


def test_a_name_has_no_folder_to_write_into_and_no_classes(tmp_path, data_dir):
    where = ["--data-dir", data_dir]
    nowhere = invoke("analyze", "digits-density", "spectrum", *where)
    assert nowhere.exit_code != 0 and "give --out" in nowhere.output
    label = invoke("sample", "digits-density", "--label", 3, "--out", tmp_path / "3.png", *where)
    assert label.exit_code != 0 and "conditional prior" in label.output
    assert not (tmp_path / "3.png").exists()
