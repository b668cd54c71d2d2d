"""Tests that no result of a bijector is stale, and that its noise is new or repeats."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from bijector_examples import (
    VECTOR,
    built,
    change,
    data,
    dense_block,
    expected_log_prob,
    flow_of,
    stochastic,
)

from iresnet_tf.bijectors import Residual, from_layer
from iresnet_tf.layers import (
    Dequantize,
)

tfd, tfb = tfp.distributions, tfp.bijectors


@pytest.mark.parametrize("chained", [False, True], ids=["residual", "chain"])
def test_the_same_eager_x_has_a_new_value_after_a_weight_change(chained):
    block = dense_block()
    bijector = tfb.Chain([Residual(block)]) if chained else Residual(block)
    flow, x = flow_of(bijector), data()
    traced = tf.function(flow.log_prob)
    before = flow.log_prob(x)
    np.testing.assert_allclose(traced(x), before, rtol=1e-12)
    y = bijector.forward(x)
    change(block)
    expected = expected_log_prob([block], x)
    assert np.max(np.abs(expected - before)) > 1e-3
    np.testing.assert_allclose(flow.log_prob(x), expected, rtol=1e-12)
    np.testing.assert_allclose(traced(x), expected, rtol=1e-12)
    np.testing.assert_allclose(bijector.forward(x), block(x), rtol=1e-12)
    np.testing.assert_allclose(bijector.inverse(y), block.inverse(y).x, rtol=0, atol=1e-10)
    log_det = block.forward_and_log_det(x)[1]
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(x, 1), log_det, rtol=1e-10)


def test_inverse_of_an_eager_forward_is_computed():
    bijector, x = tfb.Chain([Residual(dense_block())]), data()
    back = bijector.inverse(bijector.forward(x))
    assert back is not x
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_blocks_of_equal_configuration_share_no_cache(traced):
    first, second = dense_block(), dense_block()
    second.set_weights([0.5 * weight for weight in first.get_weights()])
    one, other = Residual(first, name="block"), Residual(second, name="block")
    assert one != other

    def both(x):
        return one.forward(x), other.forward(x)

    x = data()
    found = (tf.function(both) if traced else both)(x)
    np.testing.assert_allclose(found[0], first(x), rtol=1e-12)
    np.testing.assert_allclose(found[1], second(x), rtol=1e-12)
    assert np.max(np.abs(found[0] - found[1])) > 1e-3


@pytest.mark.parametrize("wrap", [lambda b: b, tfb.Invert, lambda b: tfb.Chain([b])])
def test_log_det_without_seed_is_fresh_for_every_eager_call(wrap):
    bijector, x = wrap(stochastic()), data()
    assert np.any(
        bijector.forward_log_det_jacobian(x, 1) != bijector.forward_log_det_jacobian(x, 1)
    )


def test_log_det_without_seed_is_fresh_for_every_traced_call():
    bijector, x = stochastic(), data()
    log_det = tf.function(lambda x: bijector.forward_log_det_jacobian(x, 1))
    assert np.any(log_det(x) != log_det(x))


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("chained", [False, True], ids=["invert", "chain"])
def test_log_prob_repeats_with_a_seed_in_the_bijector_kwargs(chained, traced):
    bijector, x = stochastic(), data()
    flow = flow_of(tfb.Chain([bijector]) if chained else bijector)

    def log_prob(seed):
        kwargs = {"stochastic": {"seed": seed}} if chained else {"seed": seed}
        evaluate = tf.function(flow.log_prob) if traced else flow.log_prob
        return evaluate(x, bijector_kwargs=kwargs)

    np.testing.assert_array_equal(log_prob(3), log_prob(3))
    assert np.any(log_prob(3) != log_prob(4))
    z, log_det = bijector.layer.forward_and_log_det(x, seed=3)
    np.testing.assert_allclose(
        log_prob(3), log_det + tf.reduce_sum(tfd.Normal(tf.zeros_like(z), 1.0).log_prob(z), -1)
    )


def test_direct_calls_repeat_with_a_seed_and_cancel():
    bijector, x = stochastic(), data()
    there = bijector.forward_log_det_jacobian(x, 1, seed=3)
    np.testing.assert_array_equal(there, bijector.forward_log_det_jacobian(x, 1, seed=3))
    np.testing.assert_array_equal(there, bijector.layer.forward_and_log_det(x, seed=3)[1])
    y = tf.identity(bijector.forward(x, seed=3))
    back = bijector.inverse_log_det_jacobian(y, 1, seed=3)
    np.testing.assert_allclose(there, -back, rtol=0, atol=1e-10)


def test_noise_of_dequantize_is_never_part_of_the_map():
    layer = built(Dequantize(8, dtype="float64"), VECTOR)

    class Inside(keras.layers.Layer):
        def call(self, x, training=False):
            return from_layer(layer).forward(x)

    x = np.array([[0.0, 3.0, 7.0]])
    np.testing.assert_array_equal(Inside(dtype="float64")(x, training=True), x / 8)
