"""Tests the spectral layers against the singular values of their operators."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from spectral_examples import (
    COEFF,
    STEPS,
    assert_constrained_and_certified,
    built,
    normal,
    true_norm,
    vectors,
)

from iresnet_tf import layers
from iresnet_tf.layers.economy import Economy, economical
from iresnet_tf.numerics.maps.low_precision import rounds_products_to_nearest
from iresnet_tf.numerics.maps.operators import Convolution


@pytest.mark.parametrize(
    "optimizer, functional",
    [
        *(("sgd", False), ("adam", True)),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("sgd", True), ("adam", False))),
    ],
)
def test_layers_in_a_stock_model_stay_constrained_through_fit(matrix_of, optimizer, functional):
    parts = [
        layers.SpectralConv2D(4, 3, coeff=COEFF),
        layers.LipSwish(),
        layers.SpectralConv2D(6, (2, 1), coeff=COEFF),
        layers.MaxMin(),
        layers.SpectralConv2D(3, 1, coeff=COEFF),
        keras.layers.Flatten(),
        layers.SpectralDense(5, coeff=COEFF),
    ]
    inputs = keras.Input((6, 5, 2))
    if functional:
        outputs = inputs
        for part in parts:
            outputs = part(outputs)
        model = keras.Model(inputs, outputs)
    else:
        model = keras.Sequential([inputs, *parts])
    # Ten times a good learning rate.
    rate = {"sgd": keras.optimizers.SGD(0.5), "adam": keras.optimizers.Adam(0.01)}[optimizer]
    model.compile(rate, "mse")
    x, y = normal(STEPS * 4, 6, 5, 2), 3.0 * normal(STEPS * 4, 5, seed=1)
    before = [layer.kernel.numpy() for layer in layers.spectral_layers(model)]
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    layers.refresh(model)
    trained = layers.spectral_layers(model)
    assert len(trained) == 4
    for layer, kernel in zip(trained, before, strict=True):
        assert not np.allclose(layer.kernel.numpy(), kernel)
        assert_constrained_and_certified(matrix_of, layer, COEFF)
    assert any(float(layer.spectral_norm()) > COEFF for layer in trained)


def test_residual_block_stays_a_contraction_through_fit(matrix_of):
    g = layers.Contraction.conv(8, (3, 1, 3), coeff=0.9)
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.ResidualBlock(g)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    x = normal(STEPS * 4, 6, 6, 2)
    model.fit(x, -5.0 * x, batch_size=4, epochs=1, verbose=0)
    layers.refresh(model)
    product = 1.0
    for layer in layers.spectral_layers(model):
        assert_constrained_and_certified(matrix_of, layer, 0.9)
        product *= true_norm(matrix_of, layer)
    assert product <= g.lipschitz_bound() <= product * 1.02**3 < 1.0


@pytest.mark.parametrize(
    "grid,kernel_size",
    [
        ((4, 4), 3),
        ((4, 4), 5),
        ((5, 9), 2),
        ((8, 8), 3),
        ((16, 16), 1),
        ((16, 16), 5),
        ((32, 32), 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["random", "smooth"])
def test_norm_and_certificate_on_every_grid(matrix_of, grid, kernel_size, kind):
    layer = built("conv", kernel_size, grid, channels=(1, 2))
    shape = tuple(layer.kernel.shape)
    kernel = 10.0 * normal(*shape)
    if kind == "smooth":
        bump = np.exp(-((np.arange(kernel_size) - (kernel_size - 1) / 2) ** 2))
        kernel = np.outer(bump, bump)[:, :, np.newaxis, np.newaxis] * (1 + 0.1 * kernel)
    layer.kernel.assign(kernel)
    layer.refresh()
    assert_constrained_and_certified(matrix_of, layer, COEFF)
    # The constraint is active and exact.
    assert true_norm(matrix_of, layer) >= COEFF * (1 - 1e-5)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_kernel_below_the_coefficient_is_applied_as_it_is(kind):
    layer = built(kind)
    layer.kernel.assign(0.01 * layer.kernel.value)
    layer.refresh()
    np.testing.assert_array_equal(layer.constrained_kernel(), layer.kernel.value)


def test_zero_kernel_is_allowed_and_trains(matrix_of):
    layer = built("conv", kernel_initializer="zeros")
    x = tf.constant(normal(2, 6, 5, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) * normal(2, 6, 5, 4, seed=1))
    gradient = tape.gradient(loss, layer.kernel.value)
    assert layer.lipschitz_bound() == 0.0 and np.isfinite(gradient).all() and np.any(gradient)
    layer.kernel.assign(100.0 * gradient)
    layer.kernel.constraint(layer.kernel)
    layer.refresh()
    assert_constrained_and_certified(matrix_of, layer, COEFF)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_vectors_are_burned_in_when_built(matrix_of, kind):
    layer = built(kind)
    layer.kernel.assign(layer.kernel.value)
    kernel = tf.cast(layer.kernel.value, tf.float64)
    matrix = kernel.numpy().T if kind == "dense" else matrix_of(Convolution(kernel), (6, 5, 3))
    assert float(layer.spectral_norm()) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
def test_constraint_moves_the_vectors_once_a_step_and_not_the_kernel(steps):
    layer = built("conv", power_iterations=steps)
    layer.kernel.assign(normal(3, 3, 3, 4, seed=2))
    kernel, right = layer.kernel.numpy(), tf.cast(layer.right_vector.value, tf.float64)
    operator = Convolution(tf.constant(kernel, tf.float64))
    for _ in range(steps):
        left = operator(right) / tf.norm(operator(right))
        right = operator.adjoint(left) / tf.norm(operator.adjoint(left))
    returned = layer.kernel.constraint(layer.kernel)
    np.testing.assert_array_equal(returned, kernel)
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel)
    np.testing.assert_allclose(layer.right_vector, right, atol=1e-5)
    np.testing.assert_allclose(layer.left_vector, left, atol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_vectors_found_in_bfloat16_leave_the_norm_that_of_float32(matrix_of, kind):
    """All weights of the kernel lie 3/8 of a spacing above a bfloat16, so all are rounded down.

    The norm of the rounded kernel is too small by 0.3 %.  The leading vectors of both kernels are
    the same, but for a rounding whose square counts, and their norm is taken in float32.
    """
    layer = built(kind, power_iterations=3, channels=(3, 3), coeff=None)
    weights = np.ones(layer.kernel.shape) + np.eye(3)
    layer.kernel.assign((1.0 + 0.375 * 2.0**-7) * weights)
    norm = true_norm(matrix_of, layer)
    start = normal(*layer.right_vector.shape) + 1.0
    layer.right_vector.assign(start)
    layer.update_vectors(layer.kernel)
    plain = vectors(layer)[0]
    layer.right_vector.assign(start)
    with economical(Economy(product_dtype="bfloat16"), tf.constant([0, 0])):
        layer.update_vectors(layer.kernel)
        # Elsewhere products in bfloat16 would save no time, so they are in float32.
        assert np.array_equal(plain, vectors(layer)[0]) != rounds_products_to_nearest()
        for _ in range(9):
            layer.update_vectors(layer.kernel)
    np.testing.assert_allclose(layer.spectral_norm(), norm, rtol=2.0**-15)


@pytest.mark.parametrize("jit_compile", [False, "auto"])
def test_constraint_runs_once_an_optimizer_step(jit_compile):
    layer = built("conv", channels=(3, 3))
    calls = tf.Variable(0)
    original = layer.update_vectors

    def counted(kernel):
        calls.assign_add(1)
        original(kernel)

    layer.update_vectors = counted
    model = keras.Sequential([keras.Input((6, 5, 3)), layer])
    model.compile("sgd", "mse", jit_compile=jit_compile)
    before = vectors(layer)
    model.fit(normal(28, 6, 5, 3), normal(28, 6, 5, 3, seed=1), batch_size=4, verbose=0)
    assert int(calls) == 7
    assert not any(np.array_equal(*pair) for pair in zip(before, vectors(layer), strict=True))


def test_calls_inverses_and_evaluation_never_move_the_vectors():
    g = layers.Contraction.conv(4, (3, 1, 3))
    block = layers.ResidualBlock(g)
    x = normal(3, 6, 5, 2)
    block(x)
    for layer in layers.spectral_layers(block):
        layer.kernel.assign(3.0 * normal(*layer.kernel.shape))
    before = [vectors(layer) for layer in layers.spectral_layers(block)]
    block(x)
    block(x, training=True)
    block.forward_and_log_det(x)
    block.inverse(x)
    block.lipschitz_bound()
    model = keras.Sequential([keras.Input((6, 5, 2)), block])
    model.compile("sgd", "mse")
    model.predict(x, verbose=0)
    model.evaluate(x, x, verbose=0)
    after = [vectors(layer) for layer in layers.spectral_layers(block)]
    for one, other in zip(tf.nest.flatten(before), tf.nest.flatten(after), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_refresh_recovers_from_vectors_that_are_wrong(matrix_of, kind):
    layer = built(kind)
    layer.kernel.assign(5.0 * normal(*layer.kernel.shape))
    layer.right_vector.assign(normal(*layer.right_vector.shape, seed=4))
    layers.refresh(layer)
    assert_constrained_and_certified(matrix_of, layer, COEFF)


def test_refresh_finds_layers_at_every_depth_once():
    g = layers.Contraction.mlp((4,))
    stack = layers.Stack([layers.ResidualBlock(g), layers.Stack([layers.ResidualBlock(g)])])
    model = keras.Sequential([keras.Input((3,)), stack])
    assert layers.spectral_layers(model) == [g.parts[0], g.parts[2]]
    assert layers.spectral_layers(layers.SpectralDense(3)) == []


@pytest.mark.parametrize("kind,kernel_size", [("dense", 0), ("conv", 3), ("conv", 1)])
def test_gradient_of_the_constrained_kernel_with_the_vectors_held(kind, kernel_size):
    layer = built(kind, kernel_size, dtype="float64")
    layer.kernel.assign(2.0 * normal(*layer.kernel.shape).astype(np.float64))
    layer.refresh(1e-9)
    weights = normal(*layer.kernel.shape, seed=1).astype(np.float64)
    direction = normal(*layer.kernel.shape, seed=2).astype(np.float64)

    with tf.GradientTape() as tape:
        total = tf.reduce_sum(weights * layer.constrained_kernel())
    slope = np.sum(tape.gradient(total, layer.kernel.value).numpy() * direction)

    kernel, step = layer.kernel.numpy(), 1e-6
    totals = []
    for sign in (1, -1):
        layer.kernel.assign(kernel + sign * step * direction)
        totals.append(np.sum(weights * layer.constrained_kernel().numpy()))
    assert slope == pytest.approx((totals[0] - totals[1]) / (2 * step), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize("units", [2, 16])
def test_a_kernel_that_starts_at_zero_is_bound_once_it_grows(units, p):
    layer = layers.SpectralDense(units, coeff=0.5, p=p, kernel_initializer="zeros", dtype="float64")
    layer.build((None, 6))
    random = np.random.default_rng(0)
    # One direction dominates, so that a few steps find it.
    kernel = np.outer(random.standard_normal(6), random.standard_normal(units))
    kernel += 0.1 * random.standard_normal(kernel.shape)
    for _ in range(20):
        layer.kernel.assign(kernel)
        layer.update_vectors(layer.kernel)
    if p == 2:
        np.testing.assert_allclose(np.linalg.norm(layer.constrained_kernel(), 2), 0.5, rtol=1e-6)
    assert float(layer.spectral_norm()) > 0.5
