"""The scripts of benchmarks/ import the package as it is, and their models take steps."""

import importlib
import math
import pathlib
import sys

import numpy as np
import pytest
from scipy import stats

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


@pytest.mark.parametrize(
    "name,count",
    [
        ("two-moons", 400),
        ("gaussian-mixture", 400),
        pytest.param("slcp", 240, marks=pytest.mark.slow),
    ],
)
def test_draws_of_an_exact_posterior_have_uniform_ranks(name, count):
    """The rank of a parameter among 99 draws, given its observation, is uniform from 0 to 99."""
    simulator = importlib.import_module("simulators").SIMULATORS[name]
    generator = np.random.default_rng(7)
    theta = simulator.prior(count, generator)
    x = simulator.observe(theta, generator)
    ranks = [
        (simulator.posterior(one, 99, generator) < true).sum(0)
        for one, true in zip(x, theta, strict=True)
    ]
    for column in np.transpose(ranks):
        found = stats.chisquare(np.histogram(column, 10, (0, 100))[0])
        # Nine parameters in all: a right sampler fails once in 2,000.
        assert found.pvalue > 5e-5
