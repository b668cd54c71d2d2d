"""Tests the inference network of BayesFlow."""

import keras
import numpy as np
import pytest
from scipy import stats

import iresnet_tf as irn

bf = pytest.importorskip("bayesflow")

RNG = np.random.default_rng(0)
THETA, X = (RNG.normal(size=(6, size)).astype(np.float32) for size in (2, 3))
SIZES = {"blocks": 1, "width": 8, "conditioner": (8,)}
CONDITIONAL = irn.layers.ConditionalActNorm
A = np.array([[1.0, 0.5], [-0.7, 1.2], [0.3, 0.8]])


@pytest.fixture(scope="module")
def network():
    network = irn.bayesflow.ResidualFlow(**SIZES)
    network.build((None, 2), (None, 3))
    return network


def test_the_density_is_that_of_the_change_of_variables(network, jacobian_of):
    z, log_prob = network(THETA, conditions=X, density=True)
    for row in range(2):
        here = slice(row, row + 1)
        jacobian = jacobian_of(lambda theta: network(theta, conditions=X[here]), THETA[here])  # noqa: B023
        expected = stats.norm.logpdf(z[row]).sum() + np.linalg.slogdet(jacobian)[1]
        np.testing.assert_allclose(log_prob[row], expected.item(), atol=1e-5)
    np.testing.assert_array_equal(network(THETA, conditions=X), z)


def test_the_inverse_returns_with_the_same_density(network):
    z, log_prob = network(THETA, conditions=X, density=True)
    theta, again = network(z, conditions=X, inverse=True, density=True)
    np.testing.assert_allclose(theta, THETA, atol=1e-5)
    np.testing.assert_allclose(again, log_prob, atol=1e-5)


def test_several_samples_share_their_conditions(network):
    conditions = np.repeat(X[:, None], 5, axis=1)
    samples = network.sample((6, 5), conditions=conditions, seed=0)
    assert samples.shape == (6, 5, 2)
    log_prob = network.log_prob(samples, conditions=conditions)
    assert log_prob.shape == (6, 5)
    one = network.log_prob(np.asarray(samples)[:, 3], conditions=X)
    np.testing.assert_allclose(np.asarray(log_prob)[:, 3], one, atol=1e-5)


def test_the_loss_is_the_weighted_mean(network):
    log_prob = np.asarray(network.log_prob(THETA, conditions=X))
    loss = network.compute_metrics(THETA, conditions=X)["loss"]
    np.testing.assert_allclose(loss, -log_prob.mean(), rtol=1e-5)


def test_the_configuration_restores_it(network):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    copy.build((None, 2), (None, 3))
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(
        copy.log_prob(THETA, conditions=X), network.log_prob(THETA, conditions=X)
    )


def test_a_configuration_of_an_older_version_has_no_conditional_act_norm(network):
    config = network.get_config()
    del config["act_norm"]
    old = irn.bayesflow.ResidualFlow.from_config(config)
    old.build((None, 2), (None, 3))
    kinds = list(map(type, old.flow.parts))
    assert kinds == [type(part) for part in network.flow.parts if type(part) is not CONDITIONAL]
    assert kinds != list(map(type, network.flow.parts))


def test_it_works_without_conditions():
    network = irn.bayesflow.ResidualFlow(blocks=1, width=4)
    network.build((None, 2))
    assert network.log_prob(THETA).shape == (6,)


@pytest.mark.slow
def test_a_workflow_finds_a_known_posterior(tmp_path):
    def prior():
        return {"theta": np.random.normal(size=2)}

    def likelihood(theta):
        return {"x": A @ theta + 0.5 * np.random.normal(size=3)}

    np.random.seed(0)
    workflow = bf.BasicWorkflow(
        simulator=bf.make_simulator([prior, likelihood]),
        inference_network=irn.bayesflow.ResidualFlow(blocks=2, width=16, conditioner=(16,)),
        inference_variables=["theta"],
        inference_conditions=["x"],
        initial_learning_rate=1e-2,
    )
    workflow.fit_offline(workflow.simulate(4000), epochs=4, batch_size=100, verbose=0)
    observed = workflow.simulate(3)
    covariance = np.linalg.inv(np.eye(2) + 4.0 * A.T @ A)
    samples = workflow.sample(conditions={"x": observed["x"]}, num_samples=500)["theta"]
    log_prob = workflow.log_prob(observed)
    for x, theta, drawn, found in zip(observed["x"], observed["theta"], samples, log_prob):
        mean = 4.0 * covariance @ A.T @ x
        # A third of the posterior's standard deviation.
        assert np.abs(drawn.mean(0) - mean).max() < 0.12
        expected = stats.multivariate_normal(mean, covariance).logpdf(theta)
        assert abs(found - expected) < 0.5
    workflow.approximator.save(tmp_path / "approximator.keras")
    loaded = keras.saving.load_model(tmp_path / "approximator.keras")
    np.testing.assert_allclose(loaded.log_prob(observed), log_prob, atol=1e-5)
