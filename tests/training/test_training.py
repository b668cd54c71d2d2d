"""Tests runs of every kind of model: validation, averages, and resumption after a kill."""

import functools
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

import iresnet_tf as irn
from iresnet_tf import layers, training
from iresnet_tf.data import ArraySource, sources
from iresnet_tf.data.source import SPLITS
from iresnet_tf.training import assembly, presets, schedules
from iresnet_tf.training.averaging import averaged_weights
from iresnet_tf.training.run_folder import RunFolder

SMALL = [
    "model.blocks=1,1",
    "model.width=4",
    "model.dense_blocks=0",
    "model.squeeze=true",
    "intra_op_threads=none",
]
HELD_OUT = "data.validation_examples=64"


def small(name, *overrides, steps=6, per_epoch=2):
    preset = presets.get(name, [*SMALL, HELD_OUT, "batch_size=32", *overrides])
    return preset.model_copy(update={"steps": steps, "steps_per_epoch": per_epoch})


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
    """Returns a function that trains a small run once, and returns its result and its folder."""

    @functools.cache
    def trained(name, *overrides):
        run = RunFolder(tmp_path_factory.mktemp("runs") / "run")
        return training.train(small(name, *overrides), run.path, data_dir=data_dir), run

    return trained


FAST = "optimizer.learning_rate=0.5"
LARGEST = "model.p=inf"
PUBLISHED = ["data.name=digits", "model.dense_width=8"]


@pytest.mark.parametrize(
    "name, overrides, keys",
    [
        ("digits-density", [], {"bits_per_dim"}),
        ("digits-classifier", [FAST], {"accuracy", "classification"}),
        ("digits-hybrid", [LARGEST], {"bits_per_dim", "accuracy", "classification"}),
        *(
            pytest.param(name, PUBLISHED, {"bits_per_dim"}, marks=pytest.mark.slow)
            for name in ("i-densenet-cifar10", "residual-flow-mnist")
        ),
    ],
)
def test_every_task_leaves_its_figures(name, overrides, keys, trained):
    result, run = trained(name, *overrides)
    common = {"preset", "seed", "steps", "reconstruction", "lipschitz", "parameters"}
    assert set(result) - {"wall_seconds", "cpu_seconds"} == keys | common
    history = run.read_history()
    assert len(history) == 3
    assert all(np.isfinite(line["val_loss"]) for line in history)
    assert run.best.is_file()
    pictures = {path.name.split("-")[0] for path in run.images.iterdir()}
    samples = {"samples"} if "bits_per_dim" in keys else set()
    assert pictures == {"data", "reconstructions"} | samples


@pytest.mark.parametrize(
    "name", [pytest.param("digits-density", marks=pytest.mark.slow), "digits-classifier"]
)
def test_the_best_checkpoint_is_that_of_the_best_validation(name, trained, data_dir):
    _, run = trained(name, FAST)
    figure, best = ("val_accuracy", max) if "classifier" in name else ("val_loss", min)
    x, y = sources.get("digits", data_dir=data_dir, validation_examples=64).examples("validation")
    model = irn.load(run.best)
    found = model.evaluate(x, y, batch_size=128, verbose=0, return_dict=True)
    expected = best(line[figure] for line in run.read_history())
    # Every validation uses the same noise.
    assert float(found[figure.removeprefix("val_")]) == pytest.approx(expected, rel=1e-6)


def test_averaged_weights_are_there_inside_only(data_dir):
    preset = small("digits-density", "optimizer.ema=0.5")
    source = training.open_source(preset, data_dir=data_dir)
    model = assembly.build_model(preset, source, seed=0)
    model.compile(assembly.build_optimizer(preset))
    model.initialize(source.initial_examples(seed=0))
    history = [np.concatenate([w.numpy().ravel() for w in model.trainable_variables])]
    for x, y in source.stream(32, seed=0).take(3):
        model.train_on_batch(x.numpy(), y.numpy())
        history.append(np.concatenate([w.numpy().ravel() for w in model.trainable_variables]))
    # The average starts with the weights at the optimizer's first step.
    average = history[0]
    for weights in history[1:]:
        average = 0.5 * average + 0.5 * weights
    before = model.get_weights()
    with averaged_weights(model):
        inside = np.concatenate([w.numpy().ravel() for w in model.trainable_variables])
        assert not any(layer.is_stale() for layer in layers.spectral_layers(model))
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(inside, average, atol=0.05 * np.abs(history[-1] - history[0]).max())


def test_a_run_in_the_largest_norm(trained):
    result, run = trained("digits-hybrid", LARGEST)
    assert np.isfinite(result["bits_per_dim"]["mean"])
    assert result["lipschitz"]["certified_max"] <= 0.9**3 * (1 + 1e-5)
    assert run.read_config()["preset"].model.p == np.inf


@pytest.mark.slow
def test_a_run_in_a_learned_norm(trained):
    result, run = trained("digits-density", "model.p=learned")
    assert np.isfinite(result["bits_per_dim"]["mean"])
    assert run.read_config()["preset"].model.p == "learned"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits-density", "digits-classifier", "digits-hybrid"])
def test_a_killed_run_resumes_to_the_weights_of_one_never_interrupted(name, tmp_path, data_dir):
    overrides = [*SMALL, HELD_OUT, "batch_size=32", "steps_per_epoch=3", "optimizer.ema=0.9"]
    if name == "digits-classifier":
        overrides += ["data.augmentation=crop-flip", "task.dropout=0.3"]
    sources.get("digits", data_dir=data_dir).examples("test")

    def start(out, *more):
        command = [sys.executable, "-m", "iresnet_tf", "train", name, "--out", str(out), *more]
        return subprocess.Popen(
            [*command, "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    begin = [*overrides, "--steps", "18"]
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    first, second = start(whole.path, *begin), start(cut.path, *begin)
    while second.poll() is None and len(cut.read_history()) < 2:
        time.sleep(0.01)
    second.send_signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    # This is as if the run was killed while it wrote the newest checkpoint.
    newest = cut.latest_checkpoints()[0]
    newest.with_name(f".partial-{newest.name}").write_bytes(newest.read_bytes()[:500])
    resumed = start(cut.path, "--resume")
    for process in (first, resumed):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    for file in ("model", "best"):
        one, other = (irn.load(getattr(run, file)) for run in (whole, cut))
        for a, b in zip(one.weights, other.weights, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{file}: {a.path}")
    assert whole.read_history() == cut.read_history()
    results = [json.loads(run.result.read_text()) for run in (whole, cut)]
    for result in results:
        del result["wall_seconds"], result["cpu_seconds"]
    assert results[0] == results[1]


def test_warm_up_then_drops():
    options = presets.get("cifar10-classifier").optimizer
    options = options.model_copy(update={"warmup_steps": 10})
    rate = assembly.build_schedule(options, 100)
    found = [float(rate(step)) for step in (0, 4, 9, 10, 29, 31, 59, 61, 79, 81, 100)]
    expected = [0.01, 0.05, 0.1, 0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_shortened_run_gets_past_its_warm_up():
    """The preset warms up for ten epochs; a run of two epochs, for a tenth of its steps."""
    preset = presets.get("cifar10-classifier").with_length(epochs=2)
    rate = assembly.build_schedule(preset.optimizer, preset.steps)
    found = [float(rate(round(part * preset.steps))) for part in (0.05, 0.1, 0.2, 0.4, 0.7, 0.9)]
    np.testing.assert_allclose(found[1:], [0.1, 0.1, 0.02, 0.004, 0.0008], rtol=0.02)
    assert 0.04 < found[0] < 0.06


@pytest.mark.parametrize("steps", [0, 5])
def test_warm_up_is_saved_with_its_optimizer(steps):
    inner = keras.optimizers.schedules.CosineDecay(0.3, 20)
    schedule = schedules.WarmUp(inner, steps)
    config = keras.optimizers.serialize(keras.optimizers.SGD(schedule))
    restored = keras.optimizers.deserialize(config)._learning_rate
    for step in (0, 3, 5, 12):
        assert float(restored(step)) == float(schedule(step))
    assert float(schedule(steps + 20)) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("name", ["constant", "steps", "cosine"])
def test_schedules_without_warm_up_start_at_the_rate(name):
    options = presets.get("digits-density").optimizer
    update = {"learning_rate": 6e-3, "warmup_steps": 0, "schedule": name}
    options = options.model_copy(update=update)
    assert float(assembly.build_schedule(options, 50)(0)) == pytest.approx(6e-3)


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("digits-density", ["data.preprocessing=standardize"], "center, logit or gaussianize"),
        ("toy-moons", ["data.bits=5"], "endless stream"),
        ("digits-density", ["data.bits=5"], "17 levels"),
        ("digits-density", ["data.pad_to=4"], "pad_to is at least"),
        ("digits-density", ["data.validation_examples=5000"], "1438 training examples"),
        ("digits-density", ["data.augmentation=turn"], "augmentation"),
        ("digits-density", ["data.augmentation=crop-flip"], "changes the density"),
        ("digits-density", ["data.augmentation=shift"], "changes the density"),
        ("digits-hybrid", ["data.augmentation=crop"], "changes the density"),
        ("digits-density", ["model.p=0.5"], "greater than or equal to 1"),
        ("digits-density", ["model.p=3", "model.branch=dense-net"], "2-norm alone"),
        ("digits-hybrid", ["model.coeff=none"], "no inverse"),
        ("digits-density", ["data.size=6"], "digits are 8×8"),
        ("digits-density", ["data.only_class=10"], "10 classes"),
        ("digits-density", ["task.kind=segmenter"], "segmenter"),
    ],
)
def test_configurations_that_make_no_run(name, overrides, message, tmp_path, data_dir):
    with pytest.raises(ValueError, match=message):
        training.train(presets.get(name, overrides), tmp_path / "run", data_dir=data_dir)
    assert not (tmp_path / "run").exists()


def no_network(self, **kwargs):
    raise OSError("Failed to resolve host")


@pytest.mark.parametrize("name", ["mnist-density", "cifar10-density", "residual-flow-mnist"])
def test_published_presets_name_what_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", no_network)
    with pytest.raises(FileNotFoundError, match="data-dir"):
        training.train(presets.get(name), tmp_path / "run", data_dir=tmp_path / "nothing")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, parameters, shapes",
    [
        ("cifar10-density", 25_028_544, [(16, 16, 12), (8, 8, 24), (4, 4, 48)]),
        ("cifar10-classifier", 4_873_178, [(32, 32, 16), (16, 16, 64), (8, 8, 256)]),
    ],
)
def test_published_configurations_have_the_published_parameters_and_shapes(
    name, parameters, shapes
):
    preset = presets.get(name)
    images = np.random.default_rng(0).integers(0, 256, (1024, 32, 32, 3)).astype(np.float32)
    parts = {split: (images, np.zeros(1024, np.int32)) for split in SPLITS}
    source = ArraySource("cifar10", parts, levels=256, classes=10)
    model = assembly.build_model(preset, source, seed=0)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_variables) == parameters
    found = [block.event_shape for block in layers.residual_blocks(model.flow)]
    assert found == [shape for shape in shapes for _ in range(len(found) // 3)]
