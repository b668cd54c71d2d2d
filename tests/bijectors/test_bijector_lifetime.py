"""Tests what bijectors leave in memory, and their use by other objects of TFP."""

import gc
import weakref

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from bijector_examples import change, data, dense_block, expected_log_prob, flow_of, scale_and_shift

from iresnet_tf.bijectors import LayerBijector, Residual, from_layer

tfd, tfb = tfp.distributions, tfp.bijectors


def test_caches_empty_when_tensors_are_dropped():
    storage = tfb.Bijector._cache.storage
    gc.collect()
    held = len(storage)
    bijector = Residual(dense_block())
    chain = tfb.Chain([bijector, *scale_and_shift()])
    x = data()
    for each in (bijector, chain):
        y = each.forward(x)
        each.inverse(y)
        each.inverse_log_det_jacobian(y, 1)
        each.forward_log_det_jacobian(x, 1)
    del x, y
    gc.collect()
    assert len(storage) == held


def test_repeated_evaluations_of_one_tensor_gather_nothing():
    storage = tfb.Bijector._cache.storage
    flow, x = flow_of(Residual(dense_block())), data()
    flow.log_prob(x)
    held = len(storage)
    for _ in range(5):
        flow.log_prob(x)
    assert len(storage) == held


def test_a_traced_graph_is_freed():
    bijector = Residual(dense_block())

    def trace():
        function = tf.function(lambda x: bijector.forward(x) + bijector.inverse(x))
        return weakref.ref(function.get_concrete_function(data()).graph)

    graph = trace()
    gc.collect()
    assert graph() is None


def test_a_branch_does_not_leave_its_tensors_to_the_outer_graph():
    bijector, x = Residual(dense_block()), data()

    @tf.function
    def both(x, inverted):
        tf.cond(inverted, lambda: bijector.forward(x), lambda: x)
        return bijector.forward(x)

    np.testing.assert_allclose(both(x, tf.constant(True)), bijector.forward(x), rtol=1e-12)


def test_as_arguments_of_a_tf_function_they_are_traced_once_and_follow_the_weights():
    block = dense_block()
    chain = tfb.Chain([Residual(block)])
    traces = []

    @tf.function
    def forward(bijector, x):
        traces.append(bijector)
        return bijector.forward(x)

    x = data()
    for bijector in (chain.bijectors[0], chain, tfb.Invert(tfb.Invert(chain))):
        traces.clear()
        for _ in range(3):
            np.testing.assert_allclose(forward(bijector, x), block(x), rtol=1e-12)
            bijector.forward(x)
            change(block, 0.9)
        assert len(traces) == 1


def test_copies_share_the_layer():
    block = dense_block()
    for bijector in (Residual(block), from_layer(block)):
        copied = bijector.copy(name="copied")
        assert copied.name == "copied"
        assert copied.layer is block
        assert type(copied) is type(bijector)
        assert isinstance(copied, LayerBijector)
    flow, x = flow_of(Residual(block)), data()
    np.testing.assert_allclose(flow.copy().log_prob(x), flow.log_prob(x), rtol=1e-12)


def test_in_a_joint_distribution():
    block = dense_block()

    def likelihood(z):
        return tfd.Normal(tf.reduce_sum(z, -1), tf.constant(1.0, tf.float64))

    joint = tfd.JointDistributionSequential([flow_of(Residual(block)), likelihood])
    z, a = joint.sample(4, seed=1)
    for _ in range(2):
        expected = expected_log_prob([block], z) + likelihood(z).log_prob(a)
        np.testing.assert_allclose(joint.log_prob([z, a]), expected, rtol=1e-9)
        traced = tf.function(joint.log_prob)([z, a])
        np.testing.assert_allclose(traced, expected, rtol=1e-9)
        change(block)
