"""Tests conditional density models: amortised posteriors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conditional_examples import CONTEXT, block_of, pairs

from iresnet_tf import layers
from iresnet_tf.models import ConditionalDensityModel, inputs
from iresnet_tf.numerics.log_det import Exact


def model_of(features=3):
    shared = keras.Sequential([keras.layers.Dense(features, "tanh")])

    def block():
        g = layers.Contraction.mlp((8,), context_shape=CONTEXT, conditioner=shared)
        return layers.ResidualBlock(g, log_det=Exact())

    return ConditionalDensityModel([layers.ActNorm(), block(), layers.ActNorm(), block()], seed=1)


def test_a_fitted_model_saves_and_loads_with_its_shared_conditioner(tmp_path):
    model = model_of()
    x, context = (each.astype(np.float32) for each in pairs(batch=64))
    model.compile("adam")
    model.fit(x, context, batch_size=32, verbose=0)
    log_prob = model.predict(x, context=context, verbose=0)
    np.testing.assert_allclose(log_prob, model.log_prob(x, context=context), rtol=0, atol=1e-5)
    loss = model.evaluate(x, context, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(loss, -np.mean(log_prob), rtol=1e-5)
    kwargs = {"bijector_kwargs": {"context": context}}
    np.testing.assert_allclose(
        model.distribution().log_prob(x, **kwargs), log_prob, rtol=0, atol=1e-5
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, context=context, verbose=0), log_prob)
    np.testing.assert_array_equal(
        loaded.sample(2, context=context[:3], seed=4), model.sample(2, context=context[:3], seed=4)
    )
    assert loaded.flow.parts[1].g.conditioner is loaded.flow.parts[3].g.conditioner
    assert loaded.lipschitz_bounds() == model.lipschitz_bounds()


def test_samples_of_each_context_are_preimages_at_that_context():
    model = model_of()
    context = pairs()[1].astype(np.float32)
    model.build((None, 3))
    samples = model.sample(6, context=context, seed=2)
    assert samples.shape == (4, 6, 3)
    z = model.prior.sample(24, temperature=1.0, seed=tf.constant([2, 0]))
    for row in range(4):
        back = model.encode(samples[row], context=context[row : row + 1])
        np.testing.assert_allclose(back, z[6 * row : 6 * row + 6], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="count is an integer"):
        model.sample(0, context=context)


def test_one_context_serves_all_predictions():
    model = model_of()
    x, context = (each.astype(np.float32) for each in pairs(batch=5))
    model.build((None, 3))
    found = model.predict(x, context=context[:1], batch_size=2, verbose=0)
    expected = model.log_prob(x, context=np.repeat(context[:1], 5, 0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"takes context=\[batch, 5\]"):
        model.predict(x, context=context[:3], verbose=0)


def test_samples_in_a_graph_take_any_number_of_contexts():
    model = model_of()
    context = pairs()[1].astype(np.float32)
    model.build((None, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, *CONTEXT])])
    def sample(context):
        return model.sample(6, context=context, seed=2)

    assert sample.get_concrete_function().structured_outputs.shape.as_list() == [None, 6, 3]
    for batch in (4, 1):
        expected = model.sample(6, context=context[:batch], seed=2)
        assert expected.shape == (batch, 6, 3)
        np.testing.assert_allclose(sample(context[:batch]), expected, rtol=0, atol=1e-5)


def test_a_data_set_of_pairs_initialises_as_the_arrays_do():
    x, context = (each.astype(np.float32) for each in pairs(batch=6))
    batches = tf.data.Dataset.from_tensor_slices((x, context)).batch(2)
    for first, whole in zip(inputs.first_pairs(batches, None, 4), (x, context)):
        np.testing.assert_array_equal(first, whole[:4])
    for first, whole in zip(inputs.first_pairs(x, context, 8, held_out=0.5), (x, context)):
        np.testing.assert_array_equal(first, whole[:3])


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Dropout(0.1),
        keras.layers.SpatialDropout1D(0.1),
        keras.layers.GaussianNoise(0.1),
        keras.layers.BatchNormalization(),
        keras.layers.GRU(2, recurrent_dropout=0.1),
        keras.layers.Dense(2, activity_regularizer="l2"),
    ],
    ids=lambda layer: layer.name,
)
def test_conditioners_that_act_in_training_alone_are_refused_unless_frozen(layer):
    network = keras.Sequential([keras.layers.Reshape((1, 5)), layer, keras.layers.Flatten()])
    g = layers.Contraction.mlp((4,), context_shape=CONTEXT, conditioner=network)
    model = ConditionalDensityModel([layers.ResidualBlock(g)])
    model.compile("adam")
    x, context = (each.astype(np.float32) for each in pairs())
    with pytest.raises(ValueError, match=f"inference mode.*received .*{layer.name}"):
        model.fit(x, context, verbose=0)
    network.trainable = False
    model.make_train_function()


def test_other_conditioners_are_taken():
    network = keras.Sequential(
        [keras.layers.Reshape((1, 5)), keras.layers.GRU(4), keras.layers.LayerNormalization()]
    )
    g = layers.Contraction.mlp((4,), context_shape=CONTEXT, conditioner=network)
    model = ConditionalDensityModel([layers.ResidualBlock(g)])
    model.compile("adam")
    model.make_train_function()


def test_a_conditioner_is_in_training_mode_in_a_keras_call_that_is():
    network = keras.Sequential([keras.layers.BatchNormalization(momentum=0.5)])
    block = block_of(conditioner=network)
    symbols = keras.Input((3,)), keras.Input(CONTEXT)
    model = keras.Model(symbols, block(symbols[0], context=symbols[1]))
    x, context = pairs()
    block.forward_and_log_det(x, context=context)
    model([x, context])
    np.testing.assert_array_equal(network.layers[0].moving_mean, 0.0)
    model([x, context], training=True)
    np.testing.assert_allclose(network.layers[0].moving_mean, context.mean(0) / 2.0, rtol=1e-5)


def test_fitting_without_contexts_is_refused():
    model = model_of()
    model.compile("adam")
    x = pairs()[0]
    for data in (x, tf.data.Dataset.from_tensor_slices(x).batch(2)):
        with pytest.raises(ValueError, match="pairs.*received no contexts"):
            model.fit(data)
    with pytest.raises(ValueError, match="pairs.*received no contexts"):
        model.train_on_batch(x)


def linear_gaussian(count, seed):
    """Returns pairs ``(θ, c)``, and the map to the mean and the covariance of the posterior.

    For ``θ ~ N(0, I)`` and ``c | θ ~ N(A θ, σ² I)`` the covariance is ``Σ = (I + AᵀA/σ²)⁻¹``, and
    the mean is ``Σ Aᵀ c / σ²``.
    """
    matrix, noise = np.array([[1.0, 0.5], [-0.7, 1.2], [0.3, 0.8]]), 0.5
    random = np.random.default_rng(seed)
    theta = random.normal(size=(count, 2))
    observed = theta @ matrix.T + noise * random.normal(size=(count, 3))
    covariance = np.linalg.inv(np.eye(2) + matrix.T @ matrix / noise**2)
    return theta, observed, matrix @ covariance / noise**2, covariance


@pytest.mark.slow
def test_the_posterior_of_a_linear_gaussian_problem_is_the_closed_form():
    """For four observations, mean and covariance of 100,000 samples are within 2 %."""
    theta, observed, to_mean, covariance = linear_gaussian(300_000, seed=0)

    def block():
        g = layers.Contraction.mlp((16,), "softplus", coeff=0.95, context_shape=(3,))
        return layers.ResidualBlock(g, log_det=Exact())

    norms = [layers.ActNorm() for _ in range(3)]
    model = ConditionalDensityModel([norms[0], block(), norms[1], block(), norms[2]], seed=0)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-2, 900)))
    model.fit(theta, observed, batch_size=1000, epochs=3, verbose=0)
    known = linear_gaussian(4, seed=1)[1]
    samples = model.sample(100_000, context=known, seed=2).numpy().astype(np.float64)
    for mine, expected in zip(samples, known @ to_mean):
        assert np.linalg.norm(mine.mean(0) - expected) < 0.02 * np.linalg.norm(expected)
        difference = np.linalg.norm(np.cov(mine.T) - covariance)
        assert difference < 0.02 * np.linalg.norm(covariance)
