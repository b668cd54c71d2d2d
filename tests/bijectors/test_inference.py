"""Flows as surrogate posteriors and as coordinates of a sampler, on known targets."""

import pathlib
import runpy
import sys

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from iresnet_tf import layers
from iresnet_tf.bijectors import from_layer
from iresnet_tf.numerics.log_det import Exact
from iresnet_tf.numerics.solvers import Anderson

tfd, tfb = tfp.distributions, tfp.bijectors

MEAN, SCALE = np.array([1.0, -2.0]), np.array([[2.0, 0.0], [1.2, 0.5]])
EVIDENCE = 3.0
STEPS = 150


def unnormalised(x):
    """Returns ``log p(x, y)`` of a normal posterior with evidence ``log p(y) = 3``."""
    scale = tf.constant(SCALE, x.dtype)
    normal = tfd.MultivariateNormalTriL(tf.constant(MEAN, x.dtype), scale)
    return normal.log_prob(x) + EVIDENCE


def stack_of(blocks=2, units=(8,), dtype="float32", **options):
    parts = [layers.ActNorm(dtype=dtype)]
    for _ in range(blocks):
        g = layers.Contraction.mlp(units, dtype=dtype, **options)
        block = layers.ResidualBlock(g, Exact(), Anderson(tolerance=1e-6))
        parts += [block, layers.ActNorm(dtype=dtype)]
    stack = layers.Stack(parts)
    stack.build((None, 2))
    return stack


def surrogate(bijector, dtype=tf.float32):
    base = tfd.Sample(tfd.Normal(tf.zeros([], dtype), 1.0), 2)
    return tfd.TransformedDistribution(base, bijector)


def test_the_elbo_on_a_normal_posterior_reaches_the_evidence_from_below():
    """The fit differentiates samples by the implicit gradient and leaves a KL of at most 0.02."""
    stack = stack_of(blocks=1, activation="linear", coeff=0.95)
    posterior = surrogate(tfb.Invert(from_layer(stack)))
    schedule = tf_keras.optimizers.schedules.CosineDecay(5e-2, STEPS)
    tfp.vi.fit_surrogate_posterior(
        unnormalised,
        posterior,
        tf_keras.optimizers.Adam(schedule),
        STEPS,
        sample_size=32,
        seed=1,
    )
    x, log_q = posterior.experimental_sample_and_log_prob(20_000, seed=2)
    np.testing.assert_allclose(posterior.log_prob(x[:50]), log_q[:50], rtol=0, atol=1e-3)
    ratios = (unnormalised(x) - log_q).numpy().astype(np.float64)
    error = ratios.std() / np.sqrt(len(ratios))
    assert EVIDENCE - 0.02 < ratios.mean() < EVIDENCE + 4.0 * error + 1e-5


def test_the_elbo_s_gradient_through_the_inverse_is_that_of_finite_differences():
    stack = stack_of(blocks=1, dtype="float64")
    posterior = surrogate(tfb.Invert(from_layer(stack)), tf.float64)

    def loss():
        x, log_q = posterior.experimental_sample_and_log_prob(8, seed=tf.constant([3, 0]))
        return tf.reduce_mean(log_q - unnormalised(x))

    for block in layers.residual_blocks(stack):
        block.solver = Anderson(tolerance=1e-13)
    weight = layers.spectral_layers(stack)[0].bias
    with tf.GradientTape() as tape:
        value = loss()
    found = tape.gradient(value, weight.value)[2]
    step = np.zeros(weight.shape)
    step[2] = 1e-5
    weight.assign_add(step)
    above = loss()
    weight.assign_sub(2.0 * step)
    np.testing.assert_allclose(found, (above - loss()) / 2e-5, rtol=1e-5)


def test_an_optimizer_of_bare_variables_keeps_the_norms():
    """In TFP's loops too the constraint must update the singular vectors after each step."""
    stack = stack_of(blocks=1, coeff=0.9)
    flow = surrogate(tfb.Invert(from_layer(stack)))
    optimizer = tf_keras.optimizers.Adam(0.1)
    x = tf.constant(np.random.default_rng(0).normal(size=(16, 2)) * 5.0, tf.float32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        gradients = tape.gradient(loss, flow.trainable_variables)
        optimizer.apply_gradients(zip(gradients, flow.trainable_variables))

    for _ in range(50):
        step()
    largest = [np.linalg.norm(s.constrained_kernel(), 2) for s in layers.spectral_layers(stack)]
    # With one iteration a step, σ lags by a few per cent behind such large updates.
    assert max(largest) < 0.9 * 1.05


def test_hamiltonian_monte_carlo_through_a_flow_has_the_target_s_moments():
    """The sampler is exact with any flow, here an untrained one."""
    stack = stack_of(units=(8,), dtype="float64")
    kernel = tfp.mcmc.TransformedTransitionKernel(
        tfp.mcmc.HamiltonianMonteCarlo(unnormalised, tf.constant(0.5, tf.float64), 4),
        from_layer(stack),
    )

    @tf.function(autograph=False)
    def run():
        return tfp.mcmc.sample_chain(
            200,
            tf.zeros([100, 2], tf.float64),
            kernel=kernel,
            num_burnin_steps=50,
            trace_fn=lambda _, results: results.inner_results.is_accepted,
            seed=4,
        )

    draws, accepted = run()
    assert np.mean(accepted) > 0.5
    covariance = SCALE @ SCALE.T
    for statistic, expected in [
        (draws, MEAN),
        ((draws - MEAN) ** 2, np.diag(covariance)),
        ((draws - MEAN)[..., :1] * (draws - MEAN)[..., 1:], covariance[:1, 1]),
    ]:
        # Chains are independent, so the spread of their means tells the error of the total mean.
        means = np.mean(statistic, 0)
        error = means.std(0, ddof=1) / np.sqrt(len(means))
        assert np.all(np.abs(means.mean(0) - expected) < 4.5 * error)
        assert np.all(error < 0.1 * np.sqrt(np.diag(covariance)))


def test_a_divergent_proposal_is_rejected():
    """A step so long that it overflows is rejected."""
    kernel = tfp.mcmc.TransformedTransitionKernel(
        tfp.mcmc.HamiltonianMonteCarlo(lambda x: -tf.reduce_sum(x**4, -1), 1e4, 3),
        from_layer(stack_of(blocks=1)),
    )
    start = tf.constant([[1.0, -1.0], [0.5, 2.0]])
    x, results = kernel.one_step(start, kernel.bootstrap_results(start), seed=1)
    assert not np.any(results.inner_results.is_accepted)
    np.testing.assert_allclose(x, start, rtol=0, atol=1e-5)


def test_the_evidence_of_eight_schools_is_that_of_draws_from_the_prior(monkeypatch):
    benchmarks = pathlib.Path(__file__).parents[2] / "benchmarks"
    monkeypatch.setattr(sys, "path", [str(benchmarks), *sys.path])
    script = runpy.run_path(str(benchmarks / "variational.py"))
    random = np.random.default_rng(0)
    x = random.normal(size=(400_000, 10))
    scale = np.abs(5.0 * random.standard_cauchy(len(x)))
    x[:, 1] = np.log(scale)
    joint = script["eight_schools"](tf.constant(x, tf.float32)).numpy()
    normal = -0.5 * np.sum(x**2 - x[:, 1:2] ** 2 / 10, 1) - 4.5 * np.log(2.0 * np.pi)
    prior = normal + np.log(2.0 / (5.0 * np.pi * (1.0 + (scale / 5.0) ** 2))) + x[:, 1]
    weights = np.exp(joint - prior)
    error = weights.std() / weights.mean() / np.sqrt(len(x))
    assert abs(np.log(weights.mean()) - script["eight_schools_evidence"]()) < 4.0 * error < 0.05
