"""Tests the likelihood and the accuracy of test data."""

import math

import keras
import numpy as np
import pytest

from iresnet_tf import layers, models
from iresnet_tf.analysis import (
    evaluation,
    likelihood,
)
from iresnet_tf.numerics.log_det import Coloured, Exact, Krylov, PowerSeries


def test_without_a_certificate_the_truncation_is_not_bounded():
    g = layers.Contraction([keras.layers.Dense(300)], lipschitz=1.5)
    model = models.DensityModel([layers.ResidualBlock(g)])
    model.build((None, 300))
    with pytest.warns(UserWarning, match="not certified as a contraction"):
        estimator = likelihood.choose_estimator(model)
    assert estimator.series.terms == likelihood.UNCERTIFIED_TERMS
    constants = likelihood.block_constants(model.flow)
    assert likelihood.truncation_bound(constants, estimator) == float("inf")


def test_levels_are_classified_with_their_noise():
    """With a steep logit, a level without noise is far from the training data."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 256).astype(np.int32)
    x = (y[:, None] * random.integers(0, 2, (256, 8))).astype(np.float32)
    block = layers.ResidualBlock(layers.Contraction.mlp((8,)))
    preprocessing = [layers.Dequantize(2), layers.Logit(1e-6)]
    model = models.HybridModel([block], classes=2, preprocessing=preprocessing, seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)
    figures = model.evaluate(x, y, batch_size=64, verbose=0, return_dict=True)
    accuracy, found = evaluation.classification(model, x, y)
    # Zeros of the second class cannot be told apart: one in 2⁹ samples.
    assert figures["accuracy"] > 0.9
    assert accuracy == pytest.approx(figures["accuracy"], abs=0.05)
    assert found.cross_entropy == pytest.approx(figures["cross_entropy"], abs=0.1)


def wide_model(p=2):
    """Returns a model of 300 dimensions, whose evaluation does not take the exact estimator."""
    keras.utils.set_random_seed(0)
    dense = [layers.SpectralDense(width, coeff=0.95, p=p) for width in (40, 300)]
    blocks = [layers.ResidualBlock(layers.Contraction([dense[0], layers.LipSwish(), dense[1]]))]
    model = models.DensityModel(blocks)
    model.build((None, 300))
    return model


def test_the_truncation_is_within_its_certified_bound():
    """With the same probes, the error of a log-density is that of the truncation."""
    model, x = wide_model(), np.random.default_rng(0).normal(size=(20, 300)).astype(np.float32)
    estimator = likelihood.choose_estimator(model)
    bound = likelihood.truncation_bound(likelihood.block_constants(model.flow), estimator)
    assert bound == pytest.approx(0.005 * 300 * math.log(2.0))
    options = {"passes": 2, "seed": 3}
    found = likelihood.negative_log_likelihoods(model, x, estimator=estimator, **options)
    whole = likelihood.negative_log_likelihoods(
        model, x, estimator=Coloured(PowerSeries(400)), **options
    )
    assert np.abs(found - whole).max() <= bound + 1e-3
    assert np.abs(found - whole).max() > 1e-6


def test_blocks_that_are_bounded_in_another_norm_are_evaluated_by_a_series():
    model = wide_model(p=np.inf)
    estimator = likelihood.choose_estimator(model)
    assert isinstance(estimator.series, PowerSeries)
    constants = likelihood.block_constants(model.flow)
    assert likelihood.truncation_bound(constants, estimator) <= 0.005 * 300 * math.log(2.0)
    assert likelihood.truncation_bound(constants, Coloured(Krylov(5))) == math.inf
    model.flow.parts[0].log_det = Krylov("auto")
    with pytest.raises(ValueError, match="Give a number of products"):
        model.log_prob(np.zeros((2, 300), np.float32))


def test_a_block_far_beyond_its_target_is_not_given_a_false_bound():
    """Its constant was given as 0.1, and its weights have the norm 0.9."""
    dense = layers.SpectralDense(300, coeff=None)
    g = layers.Contraction([dense], lipschitz=0.1)
    model = models.DensityModel([layers.ResidualBlock(g)], prior="fixed", seed=0)
    model.build((None, 300))
    dense.kernel.assign(-0.9 * np.eye(300, dtype=np.float32))
    x = np.zeros((2, 300), np.float32)
    found = likelihood.likelihood(model, x, passes=1)
    exact = likelihood.likelihood(model, x, estimator=Exact())
    assert abs(found.mean - exact.mean) <= found.truncation_bound + 1e-2
