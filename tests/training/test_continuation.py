"""Tests that one command begins a run, continues it and extends it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from small_runs import CONSTANT, FIELDS, NAME, content, copied, cut_off, train

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.training import presets
from iresnet_tf.training.run_folder import RunFolder

BEGIN = [*FIELDS, CONSTANT, "--steps", 4]

# Pictures take longer than the steps of small runs, and must not change their weights.
pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """Returns a run of eight steps, begun by ``--resume`` where there was none."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "longer")
    assert train(run.path, *FIELDS, CONSTANT, "--steps", 8, "--resume").exit_code == 0
    return run


def assert_same_run(one, other):
    for a, b in zip(irn.load(one.path).weights, irn.load(other.path).weights, strict=True):
        # The generator of `sample` has also drawn the pictures, which depend on the length.
        if "seed_state" not in a.path:
            np.testing.assert_array_equal(a, b, err_msg=a.path)
    assert one.read_history() == other.read_history()
    results = [json.loads(run.result.read_text()) for run in (one, other)]
    assert results[0]["nll"] == results[1]["nll"] and results[0]["steps"] == results[1]["steps"]


def test_the_command_that_began_a_run_continues_it(finished, tmp_path):
    cut = cut_off(finished, tmp_path / "cut")
    result = train(cut.path, *BEGIN, "--resume")
    assert result.exit_code == 0, result.output
    assert_same_run(finished, cut)


@pytest.mark.slow
def test_a_run_that_saves_time_continues_with_the_same_draws(tmp_path):
    fields = [*FIELDS, "optimizer.log_det_share=0.25", "optimizer.product_dtype=bfloat16"]
    assert train(tmp_path / "run", *fields, "--steps", 4).exit_code == 0
    whole = RunFolder(tmp_path / "run")
    cut = cut_off(whole, tmp_path / "cut")
    result = train(cut.path, "--resume")
    assert result.exit_code == 0, result.output
    assert_same_run(whole, cut)


@pytest.mark.parametrize("arguments", [[], [*BEGIN, "--seed", 0, "--batch-size", 16]])
def test_a_finished_run_prints_its_result_again(arguments, finished, tmp_path):
    run = copied(finished, tmp_path / "run")
    before = content(run)
    result = train(run.path, *arguments, "--resume")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(run.result.read_text())
    assert content(run) == before


@pytest.mark.parametrize(
    "overrides, length",
    [
        *(([], {}), (FIELDS, {}), (["model.width=4", CONSTANT], {"epochs": 2})),
        *(([], {"steps": 3}), (["steps=3"], {}), ([f"name={NAME}", "optimizer.ema=none"], {})),
    ],
)
def test_what_equals_the_configuration_is_accepted(overrides, length, finished):
    stored = finished.read_run().preset
    assert training.continuation.requested(stored, NAME, overrides, **length) == stored


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["model.width=5"], "model.width is 4 in the run and 5 here"),
        (["task.prior=learned"], "task.prior is fixed in the run and learned here"),
        (["optimizer.ema=0.9"], "optimizer.ema is none in the run and 0.9 here"),
        (["--batch-size", 8], "batch_size is 16 in the run and 8 here"),
        (["--seed", 1], "seed is 0 in the run and 1 here"),
        (["--steps", 2], "steps is 4 in the run and 2 here"),
        (["--epochs", 1], "steps is 4 in the run and 2 here"),
        (["steps_per_epoch=1"], "steps_per_epoch is 2 in the run and 1 here"),
        (["name=other"], f"name is {NAME} in the run and other here"),
        (["model.width=5", "model.depth=2"], "4 in the run and 5 here; model.depth is 1"),
    ],
)
def test_what_differs_is_named_and_refused(arguments, message, finished, tmp_path):
    cut = cut_off(finished, tmp_path / "cut")
    before = content(cut)
    result = train(cut.path, *arguments, "--resume")
    assert result.exit_code == 1 and message in result.output
    assert content(cut) == before


@pytest.mark.parametrize("steps, per_epoch", [(5, 2), (6, 4), (7, 4), (9, 5), (200, 7), (10, 20)])
def test_a_command_has_its_own_length_again(steps, per_epoch):
    """A number of steps shortens the epochs of a new run; the same number then changes nothing."""
    override = f"steps_per_epoch={per_epoch}"
    begun = presets.get(NAME, [override]).with_length(steps=steps)
    asked = training.continuation.requested(begun, NAME, [override], steps=steps)
    assert asked == begun
    more = training.continuation.requested(begun, NAME, [override], steps=2 * steps)
    assert more.steps_per_epoch == begun.steps_per_epoch
    assert 2 * steps <= more.steps < 2 * steps + more.steps_per_epoch


@pytest.mark.parametrize("state", ["finished", "cut off"])
def test_an_extended_run_equals_the_longer_one(state, finished, longer, tmp_path, recwarn):
    run = (copied if state == "finished" else cut_off)(finished, tmp_path / "run")
    result = train(run.path, *FIELDS, CONSTANT, "--steps", 8, "--resume")
    assert result.exit_code == 0, result.output
    assert not [each for each in recwarn if "learning rates" in str(each.message)]
    assert_same_run(longer, run)
    done = 4 if state == "finished" else 2
    assert [each.model_dump() for each in run.read_run().extended] == [{"step": done, "steps": 4}]
    assert training.resume(run.path) == json.loads(result.stdout)


def test_an_extension_continues_with_the_rates_of_the_longer_run(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")
    training.train(presets.get(NAME, FIELDS).with_length(epochs=1), run.path)
    # The extended run is killed before its first step, twice.
    models = []
    monkeypatch.setattr(training.runs, "_fit_and_evaluate", lambda model, *_: models.append(model))
    with pytest.warns(UserWarning, match="2 steps so far .* a run of 2 steps; .* of 6 steps"):
        training.resume(run.path, steps=5)
    assert not run.model.exists() and not run.result.exists()
    training.resume(run.path)
    expected = [0.005 * (1.0 + np.cos(np.pi * step / 6.0)) / 2.0 for step in range(2, 6)]
    for model in models:
        rates = []
        for step in range(2, 6):
            model.optimizer.iterations.assign(step)
            rates.append(float(model.optimizer.learning_rate))
        np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_a_finished_run_without_checkpoints_is_not_extended(finished, tmp_path):
    run = copied(finished, tmp_path / "run")
    shutil.rmtree(run.checkpoints)
    before = content(run)
    assert training.resume(run.path) == json.loads(run.result.read_text())
    with pytest.raises(ValueError, match="has no checkpoint, so it cannot be extended"):
        training.resume(run.path, epochs=3)
    assert content(run) == before


@pytest.mark.parametrize(
    "length, message",
    [
        ({"steps": 2}, "steps is 4 in the run and 2 here"),
        ({"steps": 8, "epochs": 4}, "epochs or steps"),
        ({"steps": 0}, "above 0"),
        ({"epochs": -1}, "above 0"),
    ],
)
def test_lengths_that_do_not_extend_are_refused(length, message, finished):
    before = content(finished)
    with pytest.raises(ValueError, match=message):
        training.resume(finished.path, **length)
    assert content(finished) == before


def test_training_from_python_continues_the_same_preset_only(finished, tmp_path):
    run = copied(finished, tmp_path / "run")
    preset = presets.get(NAME, [*FIELDS, CONSTANT]).with_length(steps=4)
    assert training.train(preset, run.path, resume=True) == json.loads(run.result.read_text())
    with pytest.raises(ValueError, match="seed is 0 in the run and 2 here"):
        training.train(preset, run.path, seed=2, resume=True)
    other = presets.get("toy-rings", [*FIELDS, CONSTANT]).with_length(steps=4)
    with pytest.raises(ValueError, match="data.name is toy-moons in the run and toy-rings here"):
        training.train(other, run.path, resume=True)
    points = np.zeros((100, 2), np.float32)
    source = irn.data.ArraySource("mine", {"train": (points, None), "test": (points, None)})
    with pytest.raises(ValueError, match="data.name is toy-moons in the run and mine here"):
        training.resume(run.path, source=source)
    with pytest.raises(FileExistsError, match="--resume"):
        training.train(preset, run.path)
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        training.resume(tmp_path / "nowhere")


def test_the_seconds_of_all_parts_are_added(finished, tmp_path):
    cut = cut_off(finished, tmp_path / "cut")
    written = json.loads(cut.seconds.read_text())
    assert set(written) == {"wall_seconds", "cpu_seconds"} and written["wall_seconds"] > 0.0
    cut.seconds.write_text('{"wall_seconds": 3000.0, "cpu_seconds": 7000}')
    started = time.monotonic(), time.process_time()
    result = training.resume(cut.path)
    most = time.monotonic() - started[0], time.process_time() - started[1]
    assert 3000.0 < result["wall_seconds"] <= 3000.1 + most[0]
    assert 7000.0 < result["cpu_seconds"] <= 7000.1 + most[1]
    assert json.loads(cut.seconds.read_text())["wall_seconds"] <= result["wall_seconds"]


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_run_that_was_killed_before_its_configuration_is_begun(resume, tmp_path):
    out = tmp_path / "run"
    (out / ".partial-x").mkdir(parents=True)
    (out / ".partial-x" / "config.json").write_text("{")
    (out / ".lock").write_text("{}")
    result = train(out, *FIELDS, "--steps", 2, *resume)
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_a_killed_job_is_started_again_by_its_own_line(tmp_path):
    def start(out):
        line = ["-m", "iresnet_tf", "train", NAME, *FIELDS, "--steps", "20", "--resume"]
        command = [sys.executable, *line, "--out", str(out)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)

    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    first, second = start(whole.path), start(cut.path)
    while second.poll() is None and len(cut.latest_checkpoints()) < 2:
        time.sleep(0.01)
    second.send_signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL and not cut.result.exists()
    before = cut.read_seconds()
    again = start(cut.path)
    for process in (first, again):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    assert_same_run(whole, cut)
    result = json.loads(cut.result.read_text())
    assert all(result[name] > seconds for name, seconds in before.items())
