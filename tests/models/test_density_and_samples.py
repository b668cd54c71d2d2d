"""Compares the density and the samples of a model with independently computed numbers."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from density_examples import (
    IMAGE,
    LEVELS,
    KnownNoise,
    build,
    fit,
    image_model,
    images,
    vector_model,
    vectors,
)

from iresnet_tf.layers import ActNorm, ResidualBlock, residual_blocks
from iresnet_tf.models import DensityModel
from iresnet_tf.numerics.log_det import PowerSeries


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
    # ActNorm has one bias and one scale for the 4 pixels of a channel.
    act_norm, block = model.flow.parts[-2:]
    bias = act_norm.bias.numpy() + act_norm.stddev.numpy() * act_norm.shift.numpy()
    log_scale = act_norm.log_scale.numpy()
    latent = (latent + bias) * np.exp(log_scale)
    log_det += 4 * np.sum(log_scale)
    # The block uses its whole Jacobian; then comes the learned prior.
    log_det += np.linalg.slogdet(jacobian_of(block, latent))[1]
    mean, log_sigma = model.prior.mean.numpy(), model.prior.log_scale.numpy()
    z = (block(latent).numpy() - mean) / np.exp(log_sigma)
    log_prior = np.sum(-0.5 * z**2 - log_sigma - 0.5 * np.log(2 * np.pi), axis=(1, 2, 3))

    log_prob = log_prior + log_det
    np.testing.assert_allclose(model.log_prob(x + 0.25), log_prob, rtol=1e-11)
    np.testing.assert_allclose(model.distribution().log_prob(x + 0.25), log_prob, rtol=1e-11)
    # Keras keeps metrics in float32.
    np.testing.assert_allclose(found["loss"], -np.mean(log_prob), rtol=1e-6)
    expected = -np.mean(log_prob) / (16 * math.log(2))
    np.testing.assert_allclose(found["bits_per_dim"], expected, rtol=1e-6)


@pytest.fixture(scope="module")
def grid():
    """Returns a 2-D model, a grid, the area of its cells, and the density on it."""
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


def test_an_eager_log_prob_of_the_distribution_evaluates_each_block_once(monkeypatch):
    model = build(vector_model(dtype="float64"), (2,))
    bind, bound = ResidualBlock._map, []

    def counted(block, context):
        bound.append(block)
        return bind(block, context)

    monkeypatch.setattr(ResidualBlock, "_map", counted)
    model.distribution().log_prob(vectors(4))
    assert bound == residual_blocks(model.flow)


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
