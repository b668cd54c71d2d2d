"""Tests the implicit gradients of the inverse against explicit ones."""

import numpy as np
import pytest
import tensorflow as tf
from solver_examples import SOLVERS

from iresnet_tf import layers


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("activation,traced", [("elu", False), ("clipswish", True)])
def test_gradient_of_the_inverse(
    contraction, batch_for, jacobian_of, solver, kind, activation, traced
):
    """The gradients are ``(I + J)⁻ᵀ c`` in y, and ``−⟨(I + J)⁻ᵀ c, ∂g/∂θ⟩`` in the weights."""
    g = contraction(kind, activation)
    block = layers.ResidualBlock(g, solver=solver(tolerance=1e-13))
    y, cotangent = batch_for(kind, 3), batch_for(kind, 3, seed=2)
    block.build(y.shape)
    weights = [variable.value for variable in block.trainable_variables]

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(y)
            x = block.inverse(y).x
            total = tf.reduce_sum(cotangent * x)
        return x, tape.gradient(total, [y, *weights])

    x, (to_y, *to_weights) = (tf.function(gradients) if traced else gradients)()
    jacobian = jacobian_of(g, x)
    transposed = tf.transpose(tf.eye(jacobian.shape[-1], dtype=x.dtype) + jacobian, [0, 2, 1])
    flat = tf.reshape(cotangent, [3, -1, 1])
    expected = tf.reshape(tf.linalg.solve(transposed, flat), y.shape)
    np.testing.assert_allclose(to_y, expected, atol=1e-8)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(expected * g(x))
    for one, other in zip(to_weights, tape.gradient(value, weights), strict=True):
        np.testing.assert_allclose(one, -other, atol=1e-8)


def test_gradient_of_one_sample_is_zero_for_the_others(contraction, batch_for):
    block = layers.ResidualBlock(contraction("dense"))
    y = batch_for("dense", 3)
    with tf.GradientTape() as tape:
        tape.watch(y)
        total = tf.reduce_sum(block.inverse(y).x[1])
    gradient = tape.gradient(total, y).numpy()
    assert gradient[1].any() and not gradient[[0, 2]].any()


def test_the_report_carries_no_gradient(contraction, batch_for):
    block = layers.ResidualBlock(contraction("dense"))
    y = batch_for("dense", 3)
    with tf.GradientTape() as tape:
        tape.watch(y)
        result = block.inverse(y)
        total = tf.reduce_sum(result.residual + result.error_bound)
    gradient = tape.gradient(total, y)
    assert gradient is None or not gradient.numpy().any()
