"""Tests the likelihood and the accuracy of test data."""

import keras
import numpy as np
import pytest

from iresnet_tf import layers, models
from iresnet_tf.analysis import (
    evaluation,
    likelihood,
)


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
