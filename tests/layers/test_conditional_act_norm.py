"""Tests the shift and the scale that depend on a context."""

import keras
import numpy as np
import pytest
from scipy import stats

from iresnet_tf import layers
from iresnet_tf.models import ConditionalDensityModel
from iresnet_tf.models.architectures import vector_flow

RNG = np.random.default_rng(0)
X, CONTEXT = RNG.normal(size=(5, 2, 3)), RNG.normal(size=(5, 4))


def set_values(layer, kernel, bias):
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)


def built(dtype="float64", scale=1.0, largest=3.0):
    layer = layers.ConditionalActNorm(4, largest_log_scale=largest, dtype=dtype)
    layer.build((None, 2, 3))
    kernel, bias = RNG.normal(size=(4, 6)), RNG.normal(size=6)
    set_values(layer, scale * kernel, scale * bias)
    return layer, scale * kernel, scale * bias


def test_it_begins_as_the_identity():
    layer = layers.ConditionalActNorm(4, dtype="float64")
    y, log_det = layer.forward_and_log_det(X, context=CONTEXT)
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(log_det, np.zeros(5))


def test_values_are_those_of_the_formula():
    layer, kernel, bias = built(largest=0.7)
    shift, linear = np.split((CONTEXT @ kernel + bias)[:, None], 2, axis=-1)
    log_scale = 0.7 * np.tanh(linear / 0.7)
    y, log_det = layer.forward_and_log_det(X, context=CONTEXT)
    np.testing.assert_allclose(y, (X + shift) * np.exp(log_scale), rtol=1e-12)
    np.testing.assert_allclose(log_det, 2 * log_scale.sum((1, 2)), rtol=1e-12)


def test_one_context_serves_a_batch():
    layer, *_ = built()
    one = layer.forward_and_log_det(X, context=CONTEXT[:1])
    same = layer.forward_and_log_det(X, context=np.repeat(CONTEXT[:1], 5, axis=0))
    for found, expected in zip(one, same):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_scale_stays_within_its_bound_for_every_context():
    layer, *_ = built(scale=1e6)
    y = np.zeros((5, 2, 3))
    rise = layer.inverse(y + 1.0, context=CONTEXT).x - layer.inverse(y, context=CONTEXT).x
    assert np.max(rise) <= np.exp(3.0) * (1 + 1e-6)
    assert layer.inverse_lipschitz_bound() == pytest.approx(np.exp(3.0), rel=1e-15)


def test_the_error_bound_covers_features_that_cancel():
    narrow, kernel, bias = built("float32")
    kernel[1], kernel[3] = -kernel[0], -kernel[2]
    kernel, bias = kernel.astype("float32"), bias.astype("float32")
    wide = layers.ConditionalActNorm(4, dtype="float64")
    wide.build((None, 2, 3))
    for layer in (narrow, wide):
        set_values(layer, kernel, bias)
    first, second = 1e3 * RNG.uniform(1, 2, (2, 5)).astype("float32")
    context = np.stack([first, first + 0.1, second, second - 0.1], 1).astype("float32")
    y = X.astype("float32")
    found = narrow.inverse(y, context=context)
    error = found.x.numpy() - wide.inverse(y, context=context).x.numpy()
    error = np.linalg.norm(error.reshape(5, -1), axis=1)
    # The features alone round by more than the result does.
    assert np.max(error) > 1e-5
    assert np.all(error <= found.error_bound)


def test_a_narrow_conditional_law_is_learned():
    # x | c ~ N(3 c, (0.1 exp(c))²); a residual block stretches by less than two.
    keras.utils.set_random_seed(0)
    c, noise = RNG.uniform(-1.0, 1.0, size=(4000, 1)), RNG.normal(size=(4000, 1))
    x = 3.0 * c + 0.1 * np.exp(c) * noise
    model = ConditionalDensityModel([layers.ConditionalActNorm(1, largest_log_scale=30.0)])
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 600)))
    model.fit(x, c, batch_size=200, epochs=30, verbose=0)
    true = np.mean(stats.norm.logpdf(x, 3.0 * c, 0.1 * np.exp(c)))
    assert np.mean(model.log_prob(x, context=c)) == pytest.approx(true, abs=0.01)


def test_what_makes_no_layer_is_refused():
    with pytest.raises(ValueError, match="largest_log_scale is a positive number; received 0"):
        layers.ConditionalActNorm(4, largest_log_scale=0.0)
    with pytest.raises(ValueError, match=r"as a vector of features.*\(2, 2\)"):
        layers.ConditionalActNorm((2, 2)).build((None, 3))
    with pytest.raises(ValueError, match="depends on a context; received none"):
        layers.ConditionalActNorm(4).forward_and_log_det(X)


def test_a_flow_without_a_context_has_none():
    kinds = [
        type(each) for each in vector_flow(1, 4, 1, conditional_act_norm=True, context_shape=2)
    ]
    assert kinds.count(layers.ConditionalActNorm) == 1
    with pytest.raises(ValueError, match="conditional_act_norm=True needs a context"):
        vector_flow(1, 4, 1, conditional_act_norm=True)


def test_a_density_refuses_dropout_in_its_conditioner():
    dropping = keras.Sequential([keras.layers.Dense(3), keras.layers.Dropout(0.5)])
    model = ConditionalDensityModel([layers.ConditionalActNorm(4, dropping)])
    model.compile("adam")
    with pytest.raises(ValueError, match="in inference mode, even in fit.*dropout"):
        model.fit(X[:, 0], CONTEXT)
