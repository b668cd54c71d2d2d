"""Residual flows among TFP's distributions: mixtures, independent axes, batches, joint models."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.bijectors import Residual
from iresnet_tf.layers import Contraction, ResidualBlock
from iresnet_tf.numerics.log_det import Exact, PowerSeries
from iresnet_tf.numerics.solvers import Anderson

tfd, tfb = tfp.distributions, tfp.bijectors

LOCATIONS = np.array([[1.0, -2.0], [-0.5, 0.5], [3.0, 0.0]])
WEIGHTS = np.array([0.5, 0.2, 0.3])


def block_of(log_det=None):
    g = Contraction.mlp((8,), coeff=0.9, dtype="float64")
    block = ResidualBlock(g, log_det or Exact(), Anderson(tolerance=1e-12))
    block.build((None, 2))
    return block


def points(*batch):
    return tf.constant(np.random.default_rng(1).normal(size=(*batch, 2)))


def normals(z, locations):
    """Returns ``log N(z; μ, I)``."""
    return np.sum(-0.5 * (z - locations) ** 2 - 0.5 * np.log(2.0 * np.pi), -1)


def batch_of_flows(block):
    """Returns three flows that differ only in their base."""
    base = tfd.MultivariateNormalDiag(tf.constant(LOCATIONS))
    return tfd.TransformedDistribution(base, tfb.Invert(Residual(block)))


@pytest.mark.parametrize("outside", [True, False], ids=["of flows", "as the base of a flow"])
def test_log_prob_of_a_mixture_is_the_log_of_the_weighted_sum(outside):
    block, x = block_of(), points(5)
    even = tfd.Categorical(probs=tf.constant(WEIGHTS))
    if outside:
        mixture = tfd.MixtureSameFamily(even, batch_of_flows(block))
    else:
        base = tfd.MixtureSameFamily(even, tfd.MultivariateNormalDiag(tf.constant(LOCATIONS)))
        mixture = tfd.TransformedDistribution(base, tfb.Invert(Residual(block)))
    z, log_det = block.forward_and_log_det(x)
    each = np.exp(normals(z[:, np.newaxis], LOCATIONS))
    np.testing.assert_allclose(mixture.log_prob(x), np.log(each @ WEIGHTS) + log_det, rtol=1e-10)
    samples = mixture.sample(7, seed=1)
    assert samples.shape == (7, 2) and np.all(np.isfinite(samples))


def test_a_mixture_of_a_flow_and_another_distribution_has_mass_one():
    """The midpoint rule takes a box outside of which lies e⁻³⁰ of the probability."""
    base = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), 2)
    flow = tfd.TransformedDistribution(base, tfb.Invert(Residual(block_of())))
    other = tfd.MultivariateNormalDiag(tf.constant([2.0, 1.0], tf.float64))
    half = tfd.Categorical(probs=tf.constant([0.5, 0.5], tf.float64))
    mixture = tfd.Mixture(half, [flow, other])
    axis = np.arange(-40.0, 40.0, 0.2) + 0.1
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    mass = np.sum(np.exp(mixture.log_prob(grid))) * 0.2**2
    np.testing.assert_allclose(mass, 1.0, rtol=1e-4)


def test_independent_adds_the_flows_of_a_batch():
    block, x = block_of(), points(5, 3)
    flows = batch_of_flows(block)
    together = tfd.Independent(flows, 1)
    assert together.batch_shape == () and together.event_shape == (3, 2)
    z, log_det = block.forward_and_log_det(tf.reshape(x, [-1, 2]))
    z, log_det = np.reshape(z, (5, 3, 2)), np.reshape(log_det, (5, 3))
    np.testing.assert_allclose(
        together.log_prob(x), np.sum(normals(z, LOCATIONS) + log_det, -1), rtol=1e-10
    )
    assert together.sample(4, seed=0).shape == (4, 3, 2)


@pytest.mark.parametrize("shape", [(), (4,), (2, 4)])
def test_samples_and_log_probs_have_the_batch_s_shape(shape):
    flows = batch_of_flows(block_of())
    assert flows.batch_shape == (3,) and flows.event_shape == (2,)
    samples = flows.sample(shape, seed=1)
    assert samples.shape == (*shape, 3, 2)
    log_prob = flows.log_prob(samples)
    assert log_prob.shape == (*shape, 3)
    for row in range(3):
        alone = batch_of_flows(flows.bijector.bijector.layer)[row]
        np.testing.assert_allclose(
            alone.log_prob(samples[..., row, :]), log_prob[..., row], rtol=1e-10
        )


def test_a_seed_reaches_a_stochastic_log_det_through_independent():
    stochastic = Residual(block_of(PowerSeries(terms=5)), name="stochastic")
    base = tfd.MultivariateNormalDiag(tf.constant(LOCATIONS))
    chain = tfb.Chain([tfb.Scale(tf.constant(0.5, tf.float64)), stochastic])
    flows = tfd.Independent(tfd.TransformedDistribution(base, tfb.Invert(chain)), 1)
    x = points(3)

    def log_prob(seed):
        return flows.log_prob(x, bijector_kwargs={"stochastic": {"seed": seed}})

    np.testing.assert_array_equal(log_prob(1), log_prob(1))
    assert log_prob(1) != log_prob(2)
