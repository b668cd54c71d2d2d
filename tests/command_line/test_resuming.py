"""Runs that are interrupted and resumed."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf.cli import main
from iresnet_tf.training import presets
from iresnet_tf.training import train as training
from iresnet_tf.training.run_folder import RunFolder

SMALL_TOY = ["model.blocks=2", "model.width=8", "model.depth=1", "intra_op_threads=none"]


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_resuming_gives_the_weights_of_an_uninterrupted_run(epochs, tmp_path):
    """Interrupted after none, one or all of its epochs, a run ends the same, to the bit."""
    preset = presets.get("toy-moons", [*SMALL_TOY, "optimizer.ema=0.9"]).with_length(steps=6)
    preset = preset.model_copy(update={"steps_per_epoch": 3, "batch_size": 32})
    whole = training.train(preset, tmp_path / "whole", seed=5)
    cut = RunFolder(tmp_path / "cut")
    training.train(preset, cut.path, seed=5)
    cut.model.unlink()
    cut.result.unlink()
    for checkpoint in cut.latest_checkpoints()[: 2 - epochs]:
        checkpoint.unlink()
    if not epochs:
        shutil.rmtree(cut.checkpoints)
    result = invoke("train", "toy-moons", "--out", cut.path, "--resume")
    assert result.exit_code == 0, result.output
    first, second = irn.load(tmp_path / "whole"), irn.load(cut.path)
    for one, other in zip(first.weights, second.weights):
        if "seed_state" not in one.path:
            np.testing.assert_array_equal(one, other, err_msg=one.path)
    assert json.loads(cut.result.read_text())["nll"] == whole["nll"]
    np.testing.assert_array_equal(
        first.sample(4, temperature=0.7, seed=1), second.sample(4, temperature=0.7, seed=1)
    )


def test_a_resumed_run_skips_a_truncated_checkpoint(tmp_path):
    preset = presets.get("toy-moons", SMALL_TOY).with_length(steps=4)
    preset = preset.model_copy(update={"steps_per_epoch": 2, "batch_size": 32})
    run = RunFolder(tmp_path / "run")
    training.train(preset, run.path)
    newest = run.latest_checkpoints()[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    result = invoke("train", "toy-moons", "--out", run.path, "--resume")
    assert result.exit_code == 0, result.output
