"""Blocks under `tf.vectorized_map`, which batches TFP's joint distributions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf import layers, log_det, solvers
from iresnet_tf.bijectors import Residual

tfd, tfb = tfp.distributions, tfp.bijectors


class Traced(solvers.Anderson):
    """Counts how often its step is traced."""

    traces = 0

    def next_iterate(self, *arguments):
        Traced.traces += 1
        return super().next_iterate(*arguments)


def block_of(estimator=None, **options):
    g = layers.Contraction.mlp((8,), **options)
    block = layers.ResidualBlock(g, estimator or log_det.Exact(), Traced())
    block.build((None, 2))
    return block


def points():
    return tf.constant(np.random.default_rng(0).normal(size=(5, 2)), tf.float32)


def assert_maps(function, elements):
    expected = tf.stack([function(element) for element in elements])
    np.testing.assert_allclose(tf.vectorized_map(function, elements), expected, atol=1e-6)


def test_it_maps_the_inverse_and_the_log_density():
    block = block_of()
    assert_maps(lambda y: block.inverse(y[tf.newaxis]).x[0], points())
    assert_maps(lambda x: block.forward_and_log_det(x[tf.newaxis])[1][0], points())


def test_it_maps_parts_of_several_rows_with_one_context_or_many():
    block = block_of(context_shape=(1,))
    y = tf.reshape(tf.concat([points(), points()], 0), [5, 2, 2])
    one = tf.ones([1, 1])
    assert_maps(lambda y: block.inverse(y, context=one).x, y)
    contexts = tf.reshape(tf.range(10.0), [5, 2, 1])
    pairs = tf.concat([y, contexts], -1)
    assert_maps(lambda both: block.inverse(both[:, :2], context=both[:, 2:]).x, pairs)


@pytest.mark.parametrize("estimator", [log_det.PowerSeries(3), log_det.RussianRoulette()])
def test_every_element_draws_by_the_seed_that_it_is_given(estimator):
    block = block_of(estimator)
    assert_maps(lambda x: block.forward_and_log_det(x[tf.newaxis], seed=3)[1][0], points())


def test_gradients_flow_through_it():
    block, y = block_of(), points()

    def gradient(inverse):
        with tf.GradientTape() as tape:
            tape.watch(y)
            total = tf.reduce_sum(tf.sin(inverse(y)))
        return tape.gradient(total, y)

    def mapped(y):
        return tf.vectorized_map(lambda y: block.inverse(y[tf.newaxis]).x[0], y)

    np.testing.assert_allclose(gradient(mapped), gradient(lambda y: block.inverse(y).x), atol=1e-6)


def test_a_joint_distribution_traces_the_solver_once():
    block = block_of()
    prior = tfd.Sample(tfd.Normal(0.0, 1.0), 2)

    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        z = yield tfd.TransformedDistribution(prior, tfb.Invert(Residual(block)), name="z")
        yield tfd.Independent(tfd.Normal(z, 1.0), 1, name="y")

    drawn = joint.sample(4, seed=1)
    traces = Traced.traces
    again = joint.sample(7, seed=2)
    assert Traced.traces == traces
    assert again.z.shape == (7, 2) and np.unique(drawn.z).size == 8
    latent, log_det_of = block.forward_and_log_det(drawn.z)
    likelihood = tfd.Independent(tfd.Normal(drawn.z, 1.0), 1).log_prob(drawn.y)
    expected = prior.log_prob(latent) + log_det_of + likelihood
    np.testing.assert_allclose(joint.log_prob(drawn), expected, rtol=1e-5)


class Counted(keras.layers.Layer):
    """``tanh(x) / 2``, which counts its evaluations in eager mode."""

    calls = 0

    def call(self, x):
        Counted.calls += 1
        return 0.5 * tf.tanh(x)


def test_an_eager_log_density_iterates_no_solver():
    solver = solvers.Picard(tolerance=1e-7)
    block = layers.ResidualBlock(Counted(), log_det.Exact(), solver)
    block.build((None, 2))
    prior, x = tfd.Sample(tfd.Normal(0.0, 1.0), 2), points()
    flow = tfd.TransformedDistribution(prior, tfb.Invert(Residual(block)))
    flow.log_prob(x)
    Counted.calls = 0
    found = flow.log_prob(x)
    # The latent, its check, the gradient and rounding of the preimage, and the Jacobian.
    assert Counted.calls <= 5
    expected = prior.log_prob(x + 0.5 * tf.tanh(x)) + tf.reduce_sum(
        tf.math.log1p(0.5 / tf.cosh(x) ** 2), -1
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_known_preimage_does_not_outlive_its_weights():
    block, x = block_of(), points()
    bijector = Residual(block)
    y = bijector.forward(x)
    for layer in layers.spectral_layers(block):
        layer.kernel.assign(0.5 * layer.kernel)
    layers.refresh(block)
    np.testing.assert_allclose(block(bijector.inverse(y)), y, atol=2e-6)
    assert np.abs(bijector.inverse(y) - x).max() > 1e-3
