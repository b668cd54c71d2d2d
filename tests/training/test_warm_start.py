"""Tests trainings that begin with the weights of a trained model."""

import numpy as np
import pytest

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.training import assembly, presets
from iresnet_tf.training.warm_start import take_weights

OPTIONS = ["model.blocks=1,1", "model.width=4", "model.dense_blocks=0", "model.squeeze=true"]


def model_of(name, *overrides, seed=0):
    preset = presets.get(name, [*OPTIONS, *overrides])
    return assembly.initialized_model(preset, training.open_source(preset), seed=seed)


@pytest.mark.parametrize("name", ["digits-density", "digits-hybrid", "digits-classifier"])
def test_a_model_with_the_weights_of_another_is_the_same_function(name, tmp_path):
    trained = model_of(name, seed=1)
    trained.save(tmp_path / "model.keras")
    model = model_of(name, seed=2)
    x = model_input(model)
    assert not np.array_equal(model.encode(x), trained.encode(x))
    take_weights(model, tmp_path / "model.keras")
    np.testing.assert_array_equal(model.encode(x), trained.encode(x))
    if model.classes is not None:
        np.testing.assert_array_equal(model.classify(x), trained.classify(x))


def model_input(model):
    return np.random.default_rng(0).uniform(0.0, 17.0, (3, *model.flow.event_shape)).astype("f")


def test_weights_of_other_shapes_are_refused(tmp_path):
    model = model_of("digits-density")
    before = [np.array(each) for each in model.weights]
    model_of("digits-density", "model.width=5").save(tmp_path / "wide.keras")
    with pytest.raises(ValueError, match=r"initial_weights=.*of shape .*same layers"):
        take_weights(model, tmp_path / "wide.keras")
    model_of("digits-density", "model.blocks=2,1").save(tmp_path / "deep.keras")
    with pytest.raises(ValueError, match="initial_weights=.*same layers"):
        take_weights(model, tmp_path / "deep.keras")
    for weight, value in zip(model.weights, before):
        np.testing.assert_array_equal(weight, value)


def test_a_run_begins_with_the_weights_of_another_run(tmp_path):
    length = ["batch_size=16", "evaluation_examples=16"]
    first = presets.get("digits-density", [*OPTIONS, *length]).with_length(steps=2)
    training.train(first, tmp_path / "first")
    tiny = [
        "optimizer.learning_rate=1e-30",
        "optimizer.ema=none",
        f"initial_weights={tmp_path / 'first'}",
    ]
    second = presets.get("digits-density", [*OPTIONS, *length, *tiny]).with_length(steps=1)
    training.train(second, tmp_path / "second")
    one, two = irn.load(tmp_path / "first"), irn.load(tmp_path / "second")
    x = model_input(one)
    np.testing.assert_allclose(one.encode(x), two.encode(x), rtol=1e-5, atol=1e-5)
    run = training.RunFolder(tmp_path / "second")
    assert run.read_run().preset.initial_weights == str(tmp_path / "first")


def test_a_run_without_the_weights_that_it_names_is_not_begun(tmp_path):
    preset = presets.get("digits-density", ["initial_weights=nothing"])
    with pytest.raises(FileNotFoundError, match="nothing"):
        training.train(preset, tmp_path / "run")
    assert not (tmp_path / "run").exists()
