"""Invertible DenseNets: learned concatenations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf as irn
from iresnet_tf import layers

DTYPE = {"dtype": "float64"}
KINDS = {
    "dense": ((5,), {"kernel_size": None}),
    "conv": ((4, 3, 2), {"kernel_size": 3}),
}


def dense_net(kind, **options):
    shape, kernel_size = KINDS[kind]
    g = layers.Contraction.dense_net(3, 2, **kernel_size, **{**DTYPE, **options})
    g.build((None, *shape))
    random = np.random.default_rng(0)
    for layer in layers.spectral_layers(g):
        layer.kernel.assign(random.normal(size=layer.kernel.shape))
        layer.bias.assign(random.normal(size=layer.bias.shape))
    for part in g.parts[:-1]:
        part.weight.assign(random.normal(size=2))
    layers.refresh(g, 1e-9)
    return g, tf.constant(random.normal(size=(3, *shape)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["clipswish", "elu"])
def test_products_are_those_of_the_jacobian(kind, activation, jacobian_of):
    g, x = dense_net(kind, activation=activation)
    jacobian = jacobian_of(g, x).numpy()
    linearization = g.bind().linearize(x)
    v = np.random.default_rng(1).normal(size=(2, *x.shape))
    flat = v.reshape(2, 3, -1)
    forward = linearization.jvp(tf.constant(v)).numpy().reshape(2, 3, -1)
    backward = linearization.vjp(tf.constant(v)).numpy().reshape(2, 3, -1)
    np.testing.assert_allclose(forward, np.einsum("boi,pbi->pbo", jacobian, flat), atol=1e-10)
    np.testing.assert_allclose(backward, np.einsum("boi,pbo->pbi", jacobian, flat), atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_never_below_the_jacobian_s_norm(kind, jacobian_of):
    g, x = dense_net(kind)
    norms = np.linalg.norm(jacobian_of(g, x).numpy(), 2, axis=(1, 2))
    assert norms.max() <= g.lipschitz_bound() < 1.0
    assert g.lipschitz_bound() <= g.lipschitz_target() * 1.02


@pytest.mark.parametrize("kind", KINDS)
def test_the_block_s_log_det_and_inverse(kind, jacobian_of):
    g, x = dense_net(kind)
    solver = irn.solvers.Anderson(tolerance=1e-11)
    block = layers.ResidualBlock(g, log_det=irn.log_det.Exact(), solver=solver)
    y, log_det = block.forward_and_log_det(x, seed=0)
    expected = np.linalg.slogdet(jacobian_of(block, x).numpy())[1]
    np.testing.assert_allclose(log_det, expected, atol=1e-9)
    result = block.inverse(y)
    error = np.linalg.norm((result.x - x).numpy().reshape(3, -1), axis=1)
    assert np.all(error < 1e-9) and np.all(error <= result.error_bound.numpy())


def test_the_weights_have_length_one_and_are_learned():
    layer = layers.DenseConcatenation([layers.SpectralDense(2, **DTYPE)])
    layer.build((None, 3))
    layer.weight.assign([2.0, -1.0])
    x = tf.constant(np.random.default_rng(0).normal(size=(4, 3)))
    with tf.GradientTape() as tape:
        y = layer(x)
        loss = tf.reduce_sum(y[:, 0])
    expected = np.log1p(np.exp([2.0, -1.0]))
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(y[:, :3], expected[0] * x, rtol=1e-12)
    np.testing.assert_allclose(y[:, 3:], expected[1] * layer.parts[0](x), rtol=1e-12)
    assert tape.gradient(loss, layer.weight.value) is not None


def test_every_weight_of_a_block_learns():
    g, x = dense_net("conv")
    block = layers.ResidualBlock(g, log_det=irn.log_det.PowerSeries(4))
    with tf.GradientTape() as tape:
        y, log_det = block.forward_and_log_det(x, seed=0)
        loss = tf.reduce_sum(tf.square(y)) - tf.reduce_sum(log_det)
    variables = [weight.value for weight in block.trainable_variables]
    assert all(gradient is not None for gradient in tape.gradient(loss, variables))


def test_saved_and_loaded(tmp_path):
    g, x = dense_net("dense", dtype="float32")
    model = keras.Sequential([keras.Input((5,)), layers.ResidualBlock(g)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = tf.cast(x, tf.float32)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[0].g.lipschitz_bound() == g.lipschitz_bound()


def test_nothing_to_join_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        layers.DenseConcatenation([])
