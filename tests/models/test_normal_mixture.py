"""Tests the prior of several clusters against SciPy's normal distributions."""

import keras
import numpy as np
import pytest
from scipy import special, stats

from iresnet_tf.models import NormalMixture

WEIGHTS = np.array([0.2, 0.5, 0.3])
MEANS = np.array([[0.0, 0.0], [3.0, -1.0], [-2.0, 4.0]])
COVARIANCES = np.array(
    [[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.6], [0.6, 0.5]], [[0.3, -0.2], [-0.2, 1.4]]]
)


def prior_of(dtype="float64"):
    prior = NormalMixture(3, dtype=dtype)
    prior.build((None, 2))
    prior.set_parameters(10.0 * WEIGHTS, MEANS, COVARIANCES)
    return prior


def expected_log_prob(z):
    normals = [stats.multivariate_normal(m, c).logpdf(z) for m, c in zip(MEANS, COVARIANCES)]
    return special.logsumexp(normals, axis=0, b=WEIGHTS[:, None])


def test_the_density_is_that_of_the_mixture():
    z = np.random.default_rng(0).normal(size=(20, 2)) * 3.0
    np.testing.assert_allclose(prior_of().log_prob(z), expected_log_prob(z), atol=1e-12)
    np.testing.assert_allclose(
        prior_of().distribution().log_prob(z), expected_log_prob(z), atol=1e-12
    )


def test_a_new_prior_is_standard_normal():
    prior = NormalMixture(4, dtype="float64")
    prior.build((None, 3))
    z = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(prior.log_prob(z), stats.norm.logpdf(z).sum(1), atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_have_the_moments_of_the_mixture(temperature):
    z = prior_of().sample(40_000, temperature=temperature, seed=np.array([1, 2], np.int32)).numpy()
    mean = WEIGHTS @ MEANS
    spread = MEANS - mean
    covariance = np.einsum("k,kij->ij", WEIGHTS, temperature**2 * COVARIANCES)
    covariance += np.einsum("k,ki,kj->ij", WEIGHTS, spread, spread)
    # Five standard errors of the means; the fourth moments are below 30.
    error = 5.0 * np.sqrt(np.diag(covariance) / len(z))
    assert (np.abs(z.mean(0) - mean) < error).all()
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=5.0 * np.sqrt(120.0 / len(z)))


def test_the_configuration_and_the_weights_restore_it():
    prior = prior_of()
    copy = NormalMixture.from_config(prior.get_config())
    copy.build((None, 2))
    copy.set_weights(prior.get_weights())
    np.testing.assert_array_equal(copy.log_prob(MEANS), prior.log_prob(MEANS))
    assert keras.saving.get_registered_name(NormalMixture) == "iresnet_tf>NormalMixture"


def test_impossible_priors_are_refused():
    with pytest.raises(ValueError, match="components is an integer of at least 1; received 0"):
        NormalMixture(0)
    with pytest.raises(ValueError, match=r"received \(None, 4, 4, 1\)"):
        NormalMixture(2).build((None, 4, 4, 1))
