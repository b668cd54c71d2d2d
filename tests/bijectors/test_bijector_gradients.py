"""Tests that gradients reach the variables of a bijector, and what a trace evaluates."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from bijector_examples import VECTOR, built, data, dense_block, expected_log_prob, flow_of

from iresnet_tf.bijectors import Residual
from iresnet_tf.layers import (
    Contraction,
    ResidualBlock,
)
from iresnet_tf.numerics.log_det import Exact

tfd, tfb = tfp.distributions, tfp.bijectors


def test_variables_are_seen_by_tf_module_through_chain_invert_and_distribution():
    first, second = dense_block(), dense_block()
    expected = {id(w.value) for block in (first, second) for w in block.trainable_variables}
    chain = tfb.Chain([Residual(first), tfb.Scale(tf.constant(2.0, tf.float64)), Residual(second)])
    for module in (chain, tfb.Invert(chain), flow_of(chain)):
        assert {id(variable) for variable in module.trainable_variables} == expected
    every = {id(w.value) for block in (first, second) for w in block.weights}
    assert every <= {id(variable) for variable in chain.variables}


def test_variables_stay_those_of_the_keras_layer():
    block = dense_block()
    bijector = Residual(block)
    bijector.trainable_variables[0].assign_add(tf.ones_like(bijector.trainable_variables[0]))
    np.testing.assert_array_equal(block.trainable_variables[0], bijector.trainable_variables[0])


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_gradients_reach_every_variable_after_an_evaluation_outside_the_tape(traced):
    blocks = [dense_block(), dense_block()]
    flow = flow_of(tfb.Chain([Residual(blocks[1]), Residual(blocks[0])]))
    x = data()
    flow.log_prob(x)

    def gradients():
        with tf.GradientTape() as tape:
            log_prob = tf.reduce_sum(flow.log_prob(x))
        return tape.gradient(log_prob, flow.trainable_variables)

    found = (tf.function(gradients) if traced else gradients)()
    with tf.GradientTape() as tape:
        log_prob = tf.reduce_sum(expected_log_prob(blocks, x))
    expected = tape.gradient(log_prob, flow.trainable_variables)
    assert len(found) == 10
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_sample_gradient_is_that_of_the_inverse_jacobian(jacobian_of):
    block = dense_block()
    guide = flow_of(Residual(block))
    with tf.GradientTape() as tape:
        x = guide.sample(4, seed=5)
        loss = tf.reduce_sum(tf.sin(x))
    found = tape.gradient(loss, guide.trainable_variables)

    # x + g(x; θ) = z for fixed z, so dx = −(I + J)⁻¹ ∂g/∂θ dθ.
    x = tf.constant(x.numpy())
    with tf.GradientTape() as tape:
        y = block(x)
    adjoint = tf.linalg.solve(jacobian_of(block, x), tf.cos(x)[..., tf.newaxis], adjoint=True)[
        ..., 0
    ]
    expected = tape.gradient(y, guide.trainable_variables, output_gradients=-adjoint)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def test_each_block_is_evaluated_once_in_a_traced_log_prob():
    class Counted(Contraction):
        evaluations = 0

        def bind(self):
            Counted.evaluations += 1
            return super().bind()

    layers = Contraction.mlp(units=(8,), dtype="float64").parts
    block = built(ResidualBlock(Counted(layers, dtype="float64"), Exact()), VECTOR)
    flow = flow_of(Residual(block))
    Counted.evaluations = 0
    tf.function(flow.log_prob)(data())
    assert Counted.evaluations == 1
