"""The scripts of benchmarks/ import the package as it is, and their models take steps."""

import importlib
import math
import pathlib
import sys

import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def scripts_at_hand(monkeypatch):
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in set(SCRIPTS) & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports(name):
    assert importlib.import_module(name).__doc__


def test_the_measured_models_take_steps():
    workloads = importlib.import_module("workloads")
    model, batch = workloads.make("toy", workloads.estimator("5"), batch_size=8)
    assert math.isfinite(model.train_on_batch(batch, return_dict=True)["loss"])
    classifier, batch = workloads.make_classifier("toy", batch_size=8)
    results = classifier.train_on_batch(batch, np.arange(8) % 10, return_dict=True)
    assert math.isfinite(results["loss"])
