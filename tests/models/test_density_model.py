"""The density model: what fit needs, what it reports, and what it keeps."""

import math
import os
import pathlib
import subprocess
import sys
import textwrap
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.layers import (
    ActNorm,
    Center,
    Contraction,
    Dequantize,
    Logit,
    ResidualBlock,
    SpectralConv2D,
    Squeeze,
    spectral_layers,
)
from iresnet_tf.models import DensityModel
from iresnet_tf.models.replicated import ReplicatedModel
from iresnet_tf.numerics.log_det import Exact, PowerSeries
from iresnet_tf.numerics.solvers import Anderson

IMAGE, LEVELS = (4, 4, 1), 8
PIXELS = 16


@keras.saving.register_keras_serializable("iresnet_tf_tests")
class KnownNoise(Dequantize):
    """Noise of 1/4 in place of a draw."""

    def add_noise(self, x, seed):
        return x + 0.25


def vector_model(prior="learned", dtype="float32", log_det=None, units=(16,), **kwargs):
    options = {"log_det": log_det or Exact(), "solver": Anderson(tolerance=1e-5), "dtype": dtype}
    blocks = [ResidualBlock(Contraction.mlp(units=units, dtype=dtype), **options) for _ in range(2)]
    layers = [blocks[0], ActNorm(dtype=dtype), blocks[1]]
    return DensityModel(layers, prior=prior, dtype=dtype, seed=3, **kwargs)


def image_model(dequantize=Dequantize, dtype="float32", log_det=None, **kwargs):
    g = Contraction.conv(filters=4, kernel_sizes=(3, 3), dtype=dtype)
    block = ResidualBlock(g, log_det or Exact(), Anderson(tolerance=1e-5), dtype=dtype)
    preprocessing = [dequantize(LEVELS, dtype=dtype), Logit(0.05, dtype=dtype)]
    layers = [Center(0.1, dtype=dtype), Squeeze(dtype=dtype), ActNorm(dtype=dtype), block]
    return DensityModel(layers, preprocessing=preprocessing, dtype=dtype, seed=3, **kwargs)


def vectors(count=64):
    """Two clusters."""
    random = np.random.default_rng(1)
    centres = random.choice([-1.0, 3.0], size=(count, 1)) * [1.0, 0.5]
    return (random.normal(size=(count, 2)) * [0.3, 0.6] + centres).astype("float32")


def images(count=24):
    random = np.random.default_rng(2)
    ramp = np.linspace(0, 5, PIXELS).reshape(IMAGE)
    return np.floor(ramp + random.uniform(0, 3, (count, *IMAGE))).astype("uint8")


def fit(model, x, epochs=1, learning_rate=1e-2, optimizer=None, **kwargs):
    if not model.compiled:
        model.compile(optimizer=optimizer or keras.optimizers.Adam(learning_rate))
    return model.fit(x, epochs=epochs, verbose=0, **{"batch_size": 16, **kwargs}).history


def build(model, shape):
    """Built, with every weight but the vectors drawn anew."""
    model.build((None, *shape))
    random = np.random.default_rng(4)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.2 * random.normal(size=weight.shape))
    return model


def loosen(model):
    """Small kernels: no constraint binds, so refined vectors change nothing."""
    for layer in spectral_layers(model):
        layer.kernel.assign(0.01 * layer.kernel)


# Training.


@pytest.fixture(scope="module")
def trained():
    """A vector model and an image model after some epochs, and their histories."""
    keras.utils.set_random_seed(0)
    vector, image = vector_model(), image_model()
    return {
        "vector": (vector, fit(vector, vectors(), epochs=20)),
        "image": (image, fit(image, images(), epochs=12, validation_data=images(9))),
    }


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
    # What ActNorm saw: the first block's values of the first 16 examples.
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
    # Metrics are kept in float32.
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


def test_every_norm_is_at_most_its_coefficient_after_300_large_steps(matrix_of):
    conv = Contraction.conv(filters=4, kernel_sizes=(3, 1, 3), coeff=0.7)
    dense = Contraction.mlp(units=(16, 16), coeff=0.9)
    for g, x in [(conv, images().astype("float32") / 8), (dense, vectors())]:
        model = DensityModel([ActNorm(), ResidualBlock(g, PowerSeries(terms=3))], seed=3)
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


# The density.


def test_bits_per_dim_equal_the_change_of_variables_written_out(jacobian_of):
    model = build(image_model(KnownNoise, dtype="float64"), IMAGE)
    model.compile(optimizer="adam")
    x = images(5)
    found = model.evaluate(x, verbose=0, return_dict=True)

    # Dequantise, logit and centre.
    p = 0.05 + 0.9 * (x + 0.25) / LEVELS
    latent = np.log(p) - np.log(1 - p) - 0.1
    log_det = np.sum(np.log(0.9 / LEVELS) - np.log(p) - np.log(1 - p), axis=(1, 2, 3))
    # Squeeze: each 2×2 patch, row by row, becomes the channels of one pixel.
    patches = latent.reshape(5, 2, 2, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5)
    latent = patches.reshape(5, 2, 2, 4)
    # ActNorm, with one bias and scale for the 4 pixels of a channel.
    act_norm, block = model.flow.parts[-2:]
    bias, log_scale = act_norm.bias.numpy(), act_norm.log_scale.numpy()
    latent = (latent + bias) * np.exp(log_scale)
    log_det += 4 * np.sum(log_scale)
    # The block, by its whole Jacobian, and the learned prior.
    log_det += np.linalg.slogdet(jacobian_of(block, latent))[1]
    mean, log_sigma = model.prior.mean.numpy(), model.prior.log_scale.numpy()
    z = (block(latent).numpy() - mean) / np.exp(log_sigma)
    log_prior = np.sum(-0.5 * z**2 - log_sigma - 0.5 * np.log(2 * np.pi), axis=(1, 2, 3))

    log_prob = log_prior + log_det
    np.testing.assert_allclose(model.log_prob(x + 0.25), log_prob, rtol=1e-11)
    np.testing.assert_allclose(model.distribution().log_prob(x + 0.25), log_prob, rtol=1e-11)
    # Metrics are kept in float32.
    np.testing.assert_allclose(found["loss"], -np.mean(log_prob), rtol=1e-6)
    expected = -np.mean(log_prob) / (16 * math.log(2))
    np.testing.assert_allclose(found["bits_per_dim"], expected, rtol=1e-6)


@pytest.fixture(scope="module")
def grid():
    """A 2-D model, a grid with the cell's area, and the density on it."""
    keras.utils.set_random_seed(6)
    model = build(vector_model(dtype="float64"), (2,))
    axis = np.arange(-15.0, 15.0, 0.1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(tf.function(model.distribution().log_prob)(points))
    return model, points, 0.01 * density


def test_the_density_integrates_to_one(grid):
    np.testing.assert_allclose(np.sum(grid[2]), 1.0, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["distribution", "sample"])
def test_samples_have_the_moments_of_the_density(grid, kind):
    model, points, mass = grid
    count = 4000
    draw = model.distribution().sample if kind == "distribution" else model.sample
    x = np.array(draw(count, seed=2))
    functions = [lambda v: v[:, 0], lambda v: v[:, 1], lambda v: v[:, 0] * v[:, 1]]
    for function in functions:
        mean = np.sum(mass * function(points))
        deviation = np.sqrt(np.sum(mass * (function(points) - mean) ** 2))
        assert abs(np.mean(function(x)) - mean) < 4.5 * deviation / np.sqrt(count)


@pytest.mark.parametrize("kind", ["vector", "image"])
def test_distribution_agrees_with_the_model(trained, kind):
    model, _ = trained[kind]
    distribution = model.distribution()
    x = distribution.sample(5, seed=[0, 1])
    assert x.shape == (5, *model.flow.event_shape)
    assert distribution.event_shape == model.flow.event_shape
    np.testing.assert_array_equal(x, distribution.sample(5, seed=[0, 1]))
    np.testing.assert_allclose(model.decode(model.encode(x)), x, rtol=0, atol=1e-3)
    np.testing.assert_allclose(distribution.log_prob(x), model.log_prob(x), rtol=1e-4)
    np.testing.assert_allclose(model.bijector().forward(x), model.encode(x), rtol=1e-5)


def test_density_at_the_edge_of_the_data_space(trained):
    model, _ = trained["image"]
    x = np.zeros((2, *IMAGE), "float32")
    x[1] = LEVELS
    np.testing.assert_allclose(model.distribution().log_prob(x), model.log_prob(x), rtol=1e-5)


def test_distribution_follows_the_weights():
    model = build(vector_model(dtype="float64"), (2,))
    distribution, x = model.distribution(), tf.constant(vectors(4), tf.float64)
    before = distribution.log_prob(x)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.1)
    assert np.all(distribution.log_prob(x) != before)
    np.testing.assert_allclose(distribution.log_prob(x), model.log_prob(x), rtol=1e-12)
    trainable = {id(variable) for variable in distribution.trainable_variables}
    assert trainable == {id(weight.value) for weight in model.trainable_variables}


def test_log_prob_of_the_distribution_repeats_with_a_seed():
    model = build(vector_model(log_det=PowerSeries(terms=3)), (2,))
    distribution, x = model.distribution(), vectors(4)
    seeded = [distribution.log_prob(x, bijector_kwargs={"seed": 1}) for _ in range(2)]
    np.testing.assert_array_equal(*seeded)
    np.testing.assert_allclose(seeded[0], model.log_prob(x, seed=1), rtol=1e-5)
    assert np.any(distribution.log_prob(x) != distribution.log_prob(x))


def test_predict_returns_log_prob(trained):
    model, _ = trained["vector"]
    x = vectors(7)
    found = model.predict(x, batch_size=3, verbose=0)
    assert found.shape == (7,)
    np.testing.assert_allclose(found, model.log_prob(x), rtol=1e-5)


def test_a_learned_prior_is_trained_and_a_fixed_one_is_standard_normal(trained):
    learned = trained["vector"][0].prior
    assert np.all(learned.mean.numpy() != 0.0)
    assert np.all(learned.log_scale.numpy() != 0.0)
    model = vector_model(prior="fixed")
    fit(model, vectors())
    assert model.prior.trainable_variables == []
    z = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    expected = np.sum(-0.5 * z**2 - 0.5 * np.log(2 * np.pi), -1)
    np.testing.assert_allclose(model.prior.log_prob(z), expected, rtol=1e-5)
    np.testing.assert_allclose(model.prior.distribution().log_prob(z), expected, rtol=1e-5)


def test_an_unknown_prior_is_named():
    with pytest.raises(ValueError, match="prior.*'uniform'"):
        DensityModel([ActNorm()], prior="uniform")


# Samples.


def test_samples_of_discrete_data_are_levels(trained):
    model, _ = trained["image"]
    x = np.array(model.sample(50, temperature=1.5, seed=1))
    assert x.shape == (50, *IMAGE)
    assert set(np.unique(x)) <= set(range(LEVELS))
    assert len(np.unique(x)) > 3


def test_samples_repeat_with_a_seed_and_differ_without(trained):
    model, _ = trained["vector"]
    np.testing.assert_array_equal(model.sample(3, seed=4), model.sample(3, seed=4))
    assert np.all(np.array(model.sample(3, seed=4)) != np.array(model.sample(3, seed=5)))
    assert np.all(np.array(model.sample(3)) != np.array(model.sample(3)))


def test_temperature_scales_the_latent_deviation(trained):
    model, _ = trained["vector"]
    mean = model.prior.mean.numpy()
    hot, cold = (
        model.encode(model.sample(20, temperature=t, seed=4)).numpy() - mean for t in (1.0, 0.5)
    )
    np.testing.assert_allclose(cold, 0.5 * hot, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count.*0"),
        ({"count": 2.5}, "count.*2.5"),
        ({"count": (2, 3)}, r"count.*\(2, 3\)"),
        ({"count": 1, "temperature": 0.0}, "temperature.*0.0"),
        ({"count": 1, "temperature": -1.0}, "temperature.*-1.0"),
        ({"count": 1, "temperature": math.nan}, "temperature.*nan"),
        ({"count": 1, "temperature": math.inf}, "temperature.*inf"),
        ({"count": 1, "seed": [1, 2, 3]}, "seed"),
    ],
)
def test_sample_refuses(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        trained["vector"][0].sample(**arguments)


# Files and configurations.


def test_act_norm_is_initialised_once_from_the_first_data(monkeypatch):
    calls = []
    initialize = ActNorm.initialize

    def counted(layer, x):
        calls.append(layer)
        initialize(layer, x)

    monkeypatch.setattr(ActNorm, "initialize", counted)
    model = vector_model()
    model.initialize(vectors())
    values = model.flow.parts[1](model.flow.parts[0](vectors())).numpy()
    np.testing.assert_allclose(values.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1.0, rtol=1e-4)
    fit(model, vectors())
    fit(model, 5 + vectors())
    assert len(calls) == 1


LOAD = """
import sys
import keras
import iresnet_tf

folder = sys.argv[1]
import numpy as np

model = keras.models.load_model(f"{folder}/model.keras")
x = np.load(f"{folder}/x.npy")
result = {f"weight_{index}": weight for index, weight in enumerate(model.get_weights())}
result |= {f"optimizer_{i}": v.numpy() for i, v in enumerate(model.optimizer.variables)}
result["log_prob"] = model.log_prob(x + 0.5, seed=3)
result["sample"] = model.sample(3, seed=1)
result["losses"] = model.evaluate(x, verbose=0)
model.fit(x, batch_size=16, shuffle=False, verbose=0)
result |= {f"continued_{i}": variable for i, variable in enumerate(model.trainable_variables)}
np.savez(f"{folder}/result.npz", **{name: np.array(value) for name, value in result.items()})
"""


def run(script, *arguments):
    """A script in a new process, which sees this checkout alone."""
    root = pathlib.Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A trained model, its data, and the folder where both are saved."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    model, x = image_model(log_det=PowerSeries(terms=3)), images()
    fit(model, x, epochs=2)
    model.save(folder / "model.keras")
    np.save(folder / "x.npy", x)
    return model, x, folder


def continued(model, x):
    """What a copy of the model does from here on, by the name of each figure."""
    values = {
        "log_prob": model.log_prob(x + 0.5, seed=3),
        "encoded": model.encode(x + 0.5),
        "sample": model.sample(3, seed=1),
        "losses": model.evaluate(x, verbose=0),
    }
    model.fit(x, batch_size=16, shuffle=False, verbose=0)
    values |= {f"weight {w.path}": w.numpy() for w in model.trainable_variables}
    return values | {f"optimizer {v.path}": v.numpy() for v in model.optimizer.variables}


def test_a_saved_model_continues_to_the_bit_once_loaded(saved):
    _, x, folder = saved
    one, other = (keras.models.load_model(folder / "model.keras") for _ in range(2))
    assert one.optimizer.iterations == 4
    assert one.flow.is_initialized()
    one, other = continued(one, x), continued(other, x)
    for (name, first), second in zip(one.items(), other.values()):
        np.testing.assert_array_equal(first, second, name)


def test_a_model_loaded_in_a_new_process_is_the_same(saved):
    model, x, folder = saved
    run(LOAD, folder)
    loaded = np.load(folder / "result.npz")
    for index, weight in enumerate(model.get_weights()):
        np.testing.assert_array_equal(loaded[f"weight_{index}"], weight)
    for index, variable in enumerate(model.optimizer.variables):
        np.testing.assert_array_equal(loaded[f"optimizer_{index}"], variable)
    model = keras.models.load_model(folder / "model.keras")
    values = continued(model, x)
    for name in ("log_prob", "losses", "sample"):
        np.testing.assert_array_equal(loaded[name], values[name], name)
    for index, weight in enumerate(model.trainable_variables):
        np.testing.assert_array_equal(loaded[f"continued_{index}"], weight, weight.path)


@pytest.mark.parametrize("make", [vector_model, image_model])
def test_the_configuration_makes_the_same_model(make):
    model = make(prior="fixed", name="flow_model")
    config = model.get_config()
    for _ in range(2):  # the configuration is left as it is
        again = DensityModel.from_config(config)
        assert again.get_config() == config
        assert again.name == "flow_model"
        assert again.noise_seed == 3
        assert [type(part) for part in again.flow.parts] == [type(p) for p in model.flow.parts]
    shape = (2,) if make is vector_model else IMAGE
    x = np.ones((2, *shape), "float32")
    build(model, shape)
    again.build((None, *shape))
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.log_prob(x, seed=1), model.log_prob(x, seed=1))


# What is refused.


def test_compile_refuses_a_loss_and_metrics():
    for argument in ("loss", "metrics"):
        with pytest.raises(ValueError, match=f"own loss.*{argument}='mse'"):
            vector_model().compile(optimizer="adam", **{argument: "mse"})


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.distribution(),
        lambda model: model.bijector(),
        lambda model: model.sample(1),
        lambda model: model.decode(np.zeros((1, 2))),
        lambda model: model.dimension,
    ],
)
def test_use_before_the_shape_is_known_says_what_to_do(use):
    with pytest.raises(ValueError, match="shape of its data.*Fit it"):
        use(vector_model())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, 2.0]], "array.*list"),
        ({"x": vectors()}, "array.*dict"),
        (None, "array.*NoneType"),
        (np.array([["a", "b"]]), "numbers.*U1"),
        (np.array([[object()]]), "numbers.*object"),
        (np.ones((4, 2)) + 1j, "numbers.*complex"),
        (np.ones(4), r"shape.*\(4,\)"),
        (np.ones((0, 2)), r"no examples.*\(0, 2\)"),
        (tf.data.Dataset.from_tensor_slices(vectors()).take(0).batch(4), "no examples"),
        (tf.data.Dataset.from_tensor_slices({"x": vectors()}).batch(4), "numbers.*dict"),
        (tf.data.Dataset.from_tensor_slices(vectors()), r"shape.*\(.*\).*Batch"),
    ],
)
def test_fit_refuses_data(x, message):
    with pytest.raises(ValueError, match=message):
        fit(vector_model(), x, batch_size=None)


@pytest.fixture(scope="module")
def compiled():
    """A vector model and an image model, built, with a traced train step."""
    vector, image = vector_model(), image_model()
    fit(vector, vectors(16))
    fit(image, images(16))
    return {"vector": vector, "image": image}


def spoiled(x, value):
    x = np.array(x, "float32")
    x.flat[5] = value
    return x


@pytest.mark.parametrize(
    ("kind", "x", "message"),
    [
        ("vector", spoiled(vectors(16), math.nan), "NaN or Inf"),
        ("vector", spoiled(vectors(16), math.inf), "NaN or Inf"),
        ("image", spoiled(images(16), math.nan), "NaN or Inf"),
        ("image", spoiled(images(16), LEVELS), r"\[0, 7\]"),
        ("image", spoiled(images(16), -1.0), r"\[0, 7\]"),
        ("image", spoiled(images(16), 0.5), "whole numbers"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_values_are_refused_in_a_compiled_step(compiled, kind, x, message, method):
    model = compiled[kind]
    before = [weight.numpy() for weight in model.trainable_variables]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        getattr(model, method)(x, verbose=0)
    for weight, value in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    ("kind", "x", "message"),
    [
        ("vector", np.ones((4, 3)), r"\(2,\).*\(.*3\)"),
        ("vector", np.ones((4, 2, 2)), r"\(2,\).*\(.*2, 2\)"),
        ("image", np.ones((4, 4, 4, 3)), r"\(4, 4, 1\).*\(.*4, 4, 3\)"),
        ("image", np.ones((4, 16)), r"\(4, 4, 1\).*\(.*16\)"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "log_prob", "predict"])
def test_another_shape_is_refused_once_built(compiled, kind, x, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(compiled[kind], method)(x)


def test_a_seed_out_of_range_is_named():
    with pytest.raises(ValueError, match="seed.*-1"):
        DensityModel([ActNorm()], seed=-1)


# Replicas.

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
