"""Tests what fitting a density model needs and reports, and that it can be repeated."""

import math
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from density_examples import (
    IMAGE,
    PIXELS,
    KnownNoise,
    build,
    fit,
    image_model,
    images,
    loosen,
    run,
    vector_model,
    vectors,
)

from iresnet_tf.layers import (
    ActNorm,
    Contraction,
    ResidualBlock,
    SpectralConv2D,
    spectral_layers,
)
from iresnet_tf.models import DensityModel
from iresnet_tf.models.replicated import ReplicatedModel
from iresnet_tf.numerics.log_det import PowerSeries


@pytest.mark.parametrize("kind", ["vector", "image"])
def test_fit_on_an_array_lowers_the_loss(trained, kind):
    loss = trained[kind][1]["loss"]
    assert np.all(np.isfinite(loss))
    assert loss[-1] < loss[0] - 0.1  # nats


def test_history_has_bits_per_dim_for_discrete_data_only(trained):
    assert set(trained["vector"][1]) == {"loss", "log_prior", "log_det", "max_gradient"}
    history = trained["image"][1]
    reported = ("loss", "log_prior", "log_det", "bits_per_dim")
    both = {f"{prefix}{name}" for prefix in ("", "val_") for name in reported}
    assert set(history) == {*both, "max_gradient"}
    for prefix in ("", "val_"):
        bits = np.array(history[f"{prefix}loss"]) / (PIXELS * math.log(2))
        np.testing.assert_allclose(history[f"{prefix}bits_per_dim"], bits, rtol=1e-5)
        parts = np.add(history[f"{prefix}log_prior"], history[f"{prefix}log_det"])
        np.testing.assert_allclose(history[f"{prefix}loss"], -parts, rtol=1e-4)


@pytest.mark.parametrize("pairs", [False, True], ids=["x", "(x, y)"])
def test_fit_on_a_dataset_without_a_warning(pairs):
    data = tf.data.Dataset.from_tensor_slices(images())
    if pairs:
        data = data.map(lambda x: (x, 0))
    model = image_model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = fit(model, data.batch(10), epochs=2, batch_size=None)
    assert len(history["loss"]) == 2


def test_validation_split_holds_examples_out_of_the_initialisation():
    x = vectors(20)
    x[16:] += 100.0
    model = vector_model()
    history = fit(model, x, learning_rate=0.0, validation_split=0.2)
    # ActNorm was initialised with the first block's outputs for the first 16 examples.
    seen = model.flow.parts[0](x[:16]).numpy()
    np.testing.assert_allclose(model.flow.parts[1].bias, -seen.mean(0), rtol=1e-3)
    assert history["val_loss"][0] > 10 * history["loss"][0]


def test_train_on_batch_initialises_and_trains():
    model = vector_model()
    model.compile(optimizer="adam")
    first = model.train_on_batch(vectors(), return_dict=True)["loss"]
    assert model.flow.is_initialized()
    assert np.isfinite(first)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_what_would_give_every_replica_the_whole_batch_is_refused(method, monkeypatch):
    model = vector_model()
    model.compile(optimizer="adam")
    model.initialize(vectors())
    monkeypatch.setattr(ReplicatedModel, "replicas", 2)
    with pytest.raises(ValueError, match=f"{method} would give each of the 2 replicas"):
        getattr(model, method)(vectors())


@pytest.mark.parametrize("batch_size", [1, 3], ids=["one", "partial last"])
def test_an_epoch_reports_the_mean_over_all_examples(batch_size):
    model = build(image_model(KnownNoise), IMAGE)
    loosen(model)
    x = images(7)
    model.initialize(x)
    history = fit(model, x, optimizer=keras.optimizers.SGD(0.0), batch_size=batch_size)
    expected = -np.mean(model.log_prob(x + 0.25))
    np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-5)
    evaluated = model.evaluate(x, batch_size=batch_size, verbose=0, return_dict=True)
    np.testing.assert_allclose(evaluated["loss"], expected, rtol=1e-5)


def test_weights_of_zero_and_one_select_a_subset_in_loss_and_gradient():
    x = vectors(6).astype("float64")
    weights = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    initial = build(vector_model(dtype="float64"), (2,))
    initial.initialize(x)
    results = []
    for data, sample_weight in [(x, weights), (x[weights > 0], None)]:
        model = build(vector_model(dtype="float64"), (2,))
        model.set_weights(initial.get_weights())
        model.compile(optimizer=keras.optimizers.SGD(0.05))
        loss = model.evaluate(
            data, sample_weight=sample_weight, verbose=0, return_dict=True, batch_size=6
        )["loss"]
        model.fit(data, sample_weight=sample_weight, batch_size=6, verbose=0)
        results.append((loss, [weight.numpy() for weight in model.trainable_variables]))
    # Keras keeps metrics in float32.
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    for one, other, before in zip(results[0][1], results[1][1], initial.trainable_variables):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
        assert np.any(one != before)


def test_validation_examples_are_weighted():
    x = vectors(6)
    weights = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    model = build(vector_model(), (2,))
    loosen(model)
    history = fit(model, x, optimizer=keras.optimizers.SGD(0.0), validation_data=(x, None, weights))
    expected = -np.mean(model.log_prob(x[weights > 0]))
    np.testing.assert_allclose(history["val_loss"][0], expected, rtol=1e-5)


def test_noise_differs_between_steps_and_epochs():
    model = image_model()
    history = fit(model, images(), epochs=3, learning_rate=0.0)
    assert len(set(history["loss"])) == 3


def test_a_run_with_a_seed_repeats_to_the_bit():
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        model = image_model(log_det=PowerSeries(terms=3))
        history = fit(model, images(), epochs=2, validation_split=0.25)
        runs.append((history, model.get_weights()))
    assert runs[0][0] == runs[1][0]
    for one, other in zip(runs[0][1], runs[1][1]):
        np.testing.assert_array_equal(one, other)


def test_evaluations_draw_the_same_noise_and_another_seed_other_noise():
    model = build(image_model(log_det=PowerSeries(terms=3)), IMAGE)
    model.compile(optimizer="adam")
    loosen(model)

    def evaluate(**kwargs):
        return model.evaluate(images(), batch_size=10, verbose=0, return_dict=True, **kwargs)

    assert evaluate() == evaluate()
    assert evaluate(seed=8) == evaluate(seed=8)
    assert evaluate()["loss"] != evaluate(seed=8)["loss"]


def test_evaluate_and_predict_build_a_new_model():
    for method in ("evaluate", "predict"):
        model = vector_model()
        model.compile(optimizer="adam")
        assert np.all(np.isfinite(getattr(model, method)(vectors(), verbose=0)))


@pytest.mark.parametrize("kind", ["dense", pytest.param("conv", marks=pytest.mark.slow)])
def test_every_norm_is_at_most_its_coefficient_after_300_large_steps(kind, matrix_of):
    if kind == "dense":
        g, x = Contraction.mlp(units=(16, 16), coeff=0.9), vectors()
    else:
        g = Contraction.conv(filters=4, kernel_sizes=(3, 1, 3), coeff=0.7)
        x = images().astype("float32") / 8
    model = DensityModel([ActNorm(), ResidualBlock(g, log_det=PowerSeries(terms=3))], seed=3)
    data = tf.data.Dataset.from_tensor_slices(x).batch(64).repeat()
    fit(model, data, learning_rate=1e-2, batch_size=None, steps_per_epoch=300)
    assert model.optimizer.iterations == 300
    assert any(layer.spectral_norm() > layer.coeff for layer in spectral_layers(model))
    for layer in spectral_layers(model):
        kernel = layer.constrained_kernel().numpy().astype("float64")
        if isinstance(layer, SpectralConv2D):

            def convolution(x, kernel=kernel):
                return tf.nn.conv2d(x, kernel, 1, "SAME")

            kernel = matrix_of(convolution, (*layer.grid, kernel.shape[2]))
        assert np.linalg.norm(kernel, 2) <= layer.coeff * 1.001


MIRRORED = """
import sys
import keras
import numpy as np
import tensorflow as tf

devices = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import iresnet_tf as irn

keras.utils.set_random_seed(0)
strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(devices)])
with strategy.scope():
    g = irn.layers.Contraction.mlp(units=(8,), dtype="float64")
    block = irn.layers.ResidualBlock(g, log_det=irn.log_det.Exact())
    layers = [irn.layers.ActNorm(dtype="float64"), block]
    model = irn.models.DensityModel(layers, seed=1, dtype="float64")
    model.compile(optimizer=keras.optimizers.SGD(0.05))
x = np.random.default_rng(0).normal(size=(32, 2)) * [2.0, 0.5]
data = tf.data.Dataset.from_tensor_slices(x).batch(16, drop_remainder=True)
history = model.fit(data, epochs=3, validation_data=data, verbose=0)
weights = [np.array(weight) for weight in model.trainable_variables]
loss = history.history["loss"] + history.history["val_loss"]
np.savez(sys.argv[2], loss, *weights)
"""


@pytest.mark.slow
def test_two_replicas_equal_one(tmp_path):
    results = []
    for devices in (1, 2):
        file = tmp_path / f"{devices}.npz"
        run(MIRRORED, devices, file)
        results.append(np.load(file))
    assert len(results[0].files) == 10
    for name in results[0].files:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-6, atol=1e-9)
