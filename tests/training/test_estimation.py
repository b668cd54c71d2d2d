"""Tests the estimate of the time of a run."""

import time

import numpy as np
import pytest
from small_runs import FIELDS, train

from iresnet_tf.data import Examples
from iresnet_tf.training import estimate, estimation, presets


@pytest.fixture
def clock(monkeypatch):
    """Replaces the clock by a list of seconds that pass."""
    passed = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(passed))
    return passed


def test_the_time_of_a_measurement_grows_by_that_of_every_example(clock):
    examples = Examples(np.zeros([48, 2]), None)
    seconds = estimation._seconds(lambda x, y: clock.append(7.0 + 0.5 * len(x)), examples, 1000)
    assert seconds == pytest.approx(7.0 + 0.5 * 1000)


@pytest.mark.parametrize(
    "steps, each, training, evaluation, text",
    [
        (3000, 1.234, 3702.0, 59.0, "3000 steps of 1.2 s: about 1 h 02 min, and about 59 s"),
        (10, 0.05, 0.5, 600.0, "10 steps of 0.05 s: about 0 s, and about 10 min"),
    ],
)
def test_an_estimate_is_told_in_hours_and_minutes(steps, each, training, evaluation, text):
    found = estimation.Estimate(steps, each, training, evaluation)
    assert str(found) == f"{text} to evaluate"


def test_an_estimate_counts_the_steps_that_remain():
    preset = presets.get("toy-moons", FIELDS[:3]).with_length(steps=400)
    found = estimate(preset, done=250)
    assert found.steps == 150
    assert found.training_seconds == pytest.approx(150 * found.step_seconds)
    assert found.step_seconds > 0.0 and found.evaluation_seconds > 0.0


def test_the_command_estimates_without_writing_anything(tmp_path, finished):
    told = train(tmp_path / "run", *FIELDS, "--steps", 40, "--estimate")
    assert told.exit_code == 0 and "toy-moons: 40 steps of" in told.output
    assert not (tmp_path / "run").exists()
    before = finished.result.read_bytes()
    told = train(finished.path, *FIELDS, "--resume", "--estimate")
    assert told.exit_code == 0 and "has finished" in told.output
    told = train(finished.path, *FIELDS, "--resume", "--steps", 6, "--estimate")
    assert "toy-moons: 2 steps of" in told.output
    assert finished.result.read_bytes() == before
