"""Tests the log-probabilities of classes against a closed form."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from iresnet_tf import layers, models
from iresnet_tf.analysis import class_log_probs
from iresnet_tf.analysis.evaluation import classification

SLOPE, OFFSET = 7.0, -3.0


@pytest.fixture(scope="module")
def model():
    """Returns a model with ``log p(1 | x) − log p(0 | x) = SLOPE x + OFFSET`` at a point ``x``."""
    model = models.Classifier(
        [layers.ActNorm(dtype="float64")],
        classes=2,
        preprocessing=[layers.Dequantize(2, dtype="float64")],
        dtype="float64",
    )
    model.build((None, 1))
    # The preprocessing divides by 2, and the head by the deviation of its batch norm.
    slope = 2.0 * SLOPE * np.sqrt(1.0 + 1e-5)
    model.head.dense.set_weights([np.array([[0.0, slope]]), np.array([0.0, OFFSET])])
    return model


def mean_over_the_cell(x):
    """Returns ``∫₀¹ σ(SLOPE (x + u) + OFFSET) du``."""
    ends = [SLOPE * (x + u) + OFFSET for u in (0.0, 1.0)]
    return (np.logaddexp(0.0, ends[1]) - np.logaddexp(0.0, ends[0])) / SLOPE


def test_it_is_the_mean_over_the_noise(model):
    x, passes = np.repeat([[0.0], [1.0]], 100, axis=0), 40
    log_p = class_log_probs(model, x, passes=passes, seed=1)
    np.testing.assert_allclose(scipy.special.logsumexp(log_p, axis=1), 0.0, atol=1e-12)
    found = np.exp(log_p[:, 1]).reshape(2, 100)
    error = found.std(axis=1, ddof=1) / 10.0
    truth = mean_over_the_cell(np.array([0.0, 1.0]))
    assert np.all(np.abs(found.mean(axis=1) - truth) < 4.0 * error)
    # At x = 0 the mean over the cell is far from the value at any fixed point of the noise.
    assert abs(truth[0] - 1.0 / (1.0 + np.exp(-OFFSET))) > 0.3 and np.all(error < 0.01)


def test_draws_depend_on_the_seed_and_are_independent(model):
    x = np.zeros((50, 1))
    one, same, other = (class_log_probs(model, x, passes=1, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.all(one != other)
    spread = [class_log_probs(model, x, passes=n)[:, 1] for n in (1, 25)]
    ratio = np.exp(spread[0]).std() / np.exp(spread[1]).std()
    assert 3.0 < ratio < 8.5  # √25, with the spread of two standard deviations of 50 values.


def test_an_evaluation_classifies_the_centres_of_the_cells(model):
    x, y = np.array([[0.0], [0.0], [1.0]]), np.array([0, 1, 1])
    odds = SLOPE * (x + 0.5) + OFFSET
    truth = -np.logaddexp(0.0, np.concatenate([odds, -odds], 1))
    log_p = class_log_probs(model, x)
    np.testing.assert_allclose(log_p, truth, rtol=1e-6)
    accuracy, found = classification(model, x, y)
    assert found.passes == 0 and accuracy == 2 / 3
    assert found.cross_entropy == pytest.approx(-truth[np.arange(3), y].mean(), rel=1e-6)


def test_numbers_between_levels_have_no_cell(model):
    with pytest.raises(tf.errors.InvalidArgumentError, match="whole numbers"):
        class_log_probs(model, np.array([[0.5]]))
    with pytest.raises(ValueError, match="received -1"):
        class_log_probs(model, np.array([[0.0]]), passes=-1)


def test_a_model_without_classes_is_refused():
    density = models.DensityModel([layers.ActNorm()])
    density.build((None, 2))
    with pytest.raises(ValueError, match="no classes"):
        class_log_probs(density, np.zeros((2, 2), np.float32))


def test_continuous_data_need_one_pass():
    keras.utils.set_random_seed(0)
    model = models.Classifier([layers.ActNorm()], classes=3)
    model.build((None, 2))
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    expected = scipy.special.log_softmax(model.predict(x, verbose=0), axis=1)
    np.testing.assert_allclose(class_log_probs(model, x), expected, rtol=1e-6, atol=1e-6)
