"""Tests layers that change the shape, and standardisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.models import architectures

DTYPE = {"dtype": "float64"}


def block():
    g = layers.Contraction.conv(4, (3, 1, 3), **DTYPE)
    solver = irn.solvers.Anderson(tolerance=1e-12)
    return layers.ResidualBlock(g, log_det=irn.log_det.Exact(), solver=solver)


def scales():
    """Returns a flow from 8×8×1 to three scales, the last of which is 1×1×16."""
    inner = layers.FactorOut([layers.Squeeze(**DTYPE), layers.ActNorm(**DTYPE), block()])
    outer = layers.FactorOut([layers.Squeeze(**DTYPE), block(), inner])
    return layers.Stack([layers.Squeeze(**DTYPE), block(), outer])


def images(count=3, shape=(8, 8, 1), seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(count, *shape)))


def test_scales_have_the_log_det_of_their_jacobian(jacobian_of):
    flow, x = scales(), images()
    y, log_det = flow.forward_and_log_det(x, seed=0)
    assert y.shape == (3, 64)
    expected = np.linalg.slogdet(jacobian_of(flow, x).numpy())[1]
    np.testing.assert_allclose(log_det, expected, atol=1e-9)


def test_scales_invert():
    flow, x = scales(), images()
    result = flow.inverse(flow(x))
    error = np.linalg.norm((result.x - x).numpy().reshape(3, -1), axis=1)
    assert np.all(error < 1e-9)
    assert np.all(error <= result.error_bound.numpy())
    assert np.all(result.converged)
    y = flow(x)
    point = flow._inverse_point(y, flow._inverse_options(y))
    np.testing.assert_allclose(point, x, atol=1e-9)


def test_the_first_half_of_the_channels_leaves():
    split = layers.FactorOut([layers.Squeeze(**DTYPE)])
    x = images(2, (4, 4, 3))
    y = split(x).numpy()
    # One of three channels leaves; a squeeze only permutes the other two.
    np.testing.assert_array_equal(y[:, :16], x.numpy()[..., 0].reshape(2, -1))
    squeezed = tf.nn.space_to_depth(x[..., 1:], 2).numpy().reshape(2, -1)
    np.testing.assert_array_equal(y[:, 16:], squeezed)


def test_the_last_latent_has_passed_every_layer():
    flow, x = scales(), images()
    y = flow(x)
    last = flow._last_latent(y)
    assert last.shape == (3, *flow._last_latent_shape()) == (3, 1, 1, 16)
    np.testing.assert_array_equal(last.numpy().reshape(3, -1), y.numpy()[:, -16:])


def test_every_block_of_every_scale_is_found_in_order():
    flow = scales()
    flow(images())
    shapes = [each.event_shape for each in layers.residual_blocks(flow)]
    assert shapes == [(4, 4, 4), (2, 2, 8), (1, 1, 16)]
    assert len(layers.act_norms(flow)) == 1


def test_act_norms_of_inner_scales_are_initialised():
    flow = scales()
    assert not flow.is_initialized()
    flow.initialize(images(64))
    assert flow.is_initialized()


def test_scales_are_one_tfp_bijector():
    flow, x = scales(), images()
    flow(x)
    bijector = irn.bijectors.from_layer(flow)
    assert bijector.forward_event_shape((8, 8, 1)) == (64,)
    assert bijector.inverse_event_shape((64,)) == (8, 8, 1)
    y = tf.identity(bijector.forward(x))
    np.testing.assert_allclose(bijector.inverse(y), x, atol=1e-9)
    prior = tfp.distributions.MultivariateNormalDiag(tf.zeros(64, tf.float64))
    density = tfp.distributions.TransformedDistribution(prior, tfp.bijectors.Invert(bijector))
    by_hand = prior.log_prob(flow(x)) + flow.forward_and_log_det(x, seed=0)[1]
    np.testing.assert_allclose(density.log_prob(x), by_hand, atol=1e-9)
    assert density.sample(2, seed=0).shape == (2, 8, 8, 1)


@pytest.mark.parametrize(
    "options",
    [{}, {"squeeze": (False, True)}, {"factor_out": True}, {"padding": 3}, {"dense_blocks": 1}],
    ids=str,
)
def test_an_image_flow_is_one_bijector_to_a_flat_latent(options):
    solver = irn.solvers.Anderson(tolerance=1e-6)
    flow = layers.Stack(architectures.image_flow((1, 2), (4, 6), solver=solver, **options))
    x = tf.cast(images(), tf.float32)
    flow(x)
    bijector = irn.bijectors.from_layer(flow)
    size = 64 * (1 + options.get("padding", 0))
    assert bijector.forward_event_shape((8, 8, 1)) == (size,)
    assert bijector.inverse_event_shape((size,)) == (8, 8, 1)
    z = bijector.forward(x)
    assert z.shape == (3, size)
    np.testing.assert_allclose(bijector.inverse(tf.identity(z)), x, atol=1e-5)


def test_a_last_flatten_leaves_a_head_its_pixels():
    flow = layers.Stack([layers.Squeeze(**DTYPE), layers.Flatten(**DTYPE)])
    x = images()
    last = flow._last_latent(flow(x))
    assert flow._last_latent_shape() == (4, 4, 4)
    np.testing.assert_array_equal(last, tf.nn.space_to_depth(x, 2))


def test_scales_are_saved_and_loaded(tmp_path):
    flow, x = scales(), images()
    model = irn.models.DensityModel([flow], **DTYPE)
    model.build((None, 8, 8, 1))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(x), model.encode(x))


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, None, 4)])
def test_factor_out_refuses_what_it_cannot_split(shape):
    with pytest.raises(ValueError, match="splits the channels"):
        layers.FactorOut([layers.Squeeze()]).build((None, *shape))


def test_flatten_keeps_every_element(jacobian_of):
    flatten, x = layers.Flatten(**DTYPE), images(2, (2, 3, 2))
    y, log_det = flatten.forward_and_log_det(x)
    np.testing.assert_array_equal(y, x.numpy().reshape(2, 12))
    np.testing.assert_array_equal(log_det, 0.0)
    np.testing.assert_array_equal(flatten.inverse(y).x, x)


@pytest.mark.parametrize("make", [layers.Flatten, lambda: layers.FactorOut([layers.Squeeze()])])
def test_a_flat_latent_does_not_tell_the_shape_of_the_data(make):
    with pytest.raises(ValueError, match="Call the layer on data first"):
        make().inverse(tf.zeros([2, 12]))


def test_padding_appends_zeros_that_the_inverse_drops():
    padding, x = layers.InjectivePadding(3, **DTYPE), images(2, (4, 4, 2))
    y = padding(x)
    np.testing.assert_array_equal(y, np.pad(x, [(0, 0)] * 3 + [(0, 3)]))
    np.testing.assert_array_equal(padding.inverse(y + 1.0).x, x + 1.0)


def test_padding_has_no_log_det():
    with pytest.raises(ValueError, match="no log-determinant"):
        layers.InjectivePadding(1).forward_and_log_det(tf.zeros([1, 2, 2, 1]))


@pytest.mark.parametrize("channels", [0, -1, 1.5])
def test_padding_refuses_no_channels(channels):
    with pytest.raises(ValueError, match="at least 1"):
        layers.InjectivePadding(channels)


def test_standardize_has_the_log_det_of_its_jacobian(jacobian_of):
    layer, x = layers.Standardize([1.0, -2.0], [0.5, 3.0], **DTYPE), images(2, (3, 2))
    y, log_det = layer.forward_and_log_det(x)
    np.testing.assert_allclose(y, (x - np.array([1.0, -2.0])) / np.array([0.5, 3.0]))
    expected = np.linalg.slogdet(jacobian_of(layer, x).numpy())[1]
    np.testing.assert_allclose(log_det, expected, atol=1e-12)
    np.testing.assert_allclose(layer.inverse(y).x, x, atol=1e-12)


@pytest.mark.parametrize("mean, stddev", [(0.0, 0.0), ([0.0, 1.0], [1.0]), (np.nan, 1.0)])
def test_standardize_refuses(mean, stddev):
    with pytest.raises(ValueError, match="finite numbers"):
        layers.Standardize(mean, stddev)
