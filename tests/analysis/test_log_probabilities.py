"""Tests the log-densities of single points, their standard errors and intervals."""

import math

import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.analysis import log_probs
from iresnet_tf.analysis.likelihood import choose_estimator


def image_model(shape, coeff=0.8, dtype="float64", **options):
    blocks = [
        layers.ResidualBlock(layers.Contraction.conv(8, (3, 1, 3), coeff=coeff, dtype=dtype))
        for _ in range(2)
    ]
    model = irn.models.DensityModel(blocks, prior="fixed", dtype=dtype, **options)
    model.build((None, *shape))
    random = np.random.default_rng(0)
    for layer in layers.spectral_layers(model):
        layer.kernel.assign(random.standard_normal(layer.kernel.shape))
    layers.refresh(model, 1e-8)
    return model


def test_intervals_cover_the_exact_value_as_often_as_they_say():
    model = image_model((4, 4, 3))
    x = np.random.default_rng(1).standard_normal((500, 4, 4, 3))
    exact = log_probs(model, x, estimator=irn.log_det.Exact())
    estimator = irn.log_det.Coloured(irn.log_det.PowerSeries(25), (5, 2))
    found = log_probs(model, x, estimator=estimator, batch_size=100, seed=3)
    assert found.passes == 5
    # The truncation is far below the noise.
    assert found.truncation_bound < 0.02 * found.standard_error.min()
    low, high = found.interval_95.T
    covered = np.mean((low <= exact.mean) & (exact.mean <= high))
    assert abs(covered - 0.95) <= 4.0 * math.sqrt(0.95 * 0.05 / len(x))
    # A mean of squares, over points whose estimates are independent.
    scores = np.square(found.mean - exact.mean)
    gap = scores - np.square(found.standard_error)
    assert abs(gap.mean()) <= 4.0 * gap.std() / math.sqrt(len(x))


def test_the_exact_value_has_no_error_and_is_that_of_the_model():
    model = image_model((4, 4, 3), dtype="float32", preprocessing=[layers.Dequantize(4)])
    points = model.dequantized(np.full((3, 4, 4, 3), 2.0, np.float32), 0)
    found = log_probs(model, points)
    assert found.estimator == "Exact()" and found.passes == 1
    assert not found.standard_error.any() and found.truncation_bound == 0.0
    np.testing.assert_array_equal(found.interval_95, np.stack([found.mean] * 2, 1))
    for block in layers.residual_blocks(model.flow):
        block.log_det = irn.log_det.Exact()
    np.testing.assert_allclose(found.mean, model.log_prob(points), rtol=1e-5)


def test_images_get_a_coloured_series_within_the_bound():
    model = image_model((12, 12, 2), dtype="float32")
    estimator = choose_estimator(model)
    assert isinstance(estimator, irn.log_det.Coloured)
    x = np.random.default_rng(1).standard_normal((2, 12, 12, 2)).astype("float32")
    found = log_probs(model, x, passes=2)
    assert found.estimator == repr(estimator)
    assert 0.0 < found.truncation_bound <= 0.005 * 288 * math.log(2.0)
    assert isinstance(estimator.series, irn.log_det.Krylov)
    single = log_probs(model, x, passes=1)
    assert np.isnan(single.standard_error).all() and np.isfinite(single.mean).all()
    assert found.as_dict()["passes"] == 2


def test_a_model_with_a_coloured_estimator_is_loaded_as_it_was(tmp_path):
    model = image_model((4, 4, 3))
    estimator = irn.log_det.Coloured(irn.log_det.PowerSeries(6), (5, 2))
    for block in layers.residual_blocks(model.flow):
        block.log_det = estimator
    model.save(tmp_path / "model.keras")
    loaded = irn.load(tmp_path / "model.keras")
    assert layers.residual_blocks(loaded.flow)[0].log_det == estimator
    x = tf.constant(np.random.default_rng(1).standard_normal((3, 4, 4, 3)))
    np.testing.assert_array_equal(loaded.log_prob(x, seed=1), model.log_prob(x, seed=1))


def test_a_classifier_has_no_log_density():
    model = irn.models.Classifier([irn.layers.ActNorm()], classes=2)
    with pytest.raises(ValueError, match="no density.*DensityModel"):
        log_probs(model, np.zeros((2, 3), np.float32))
