"""Tests that the bijectors are bijective, with the log-determinants of their Jacobians."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from bijector_examples import (
    IMAGE,
    VECTOR,
    act_norm,
    built,
    conv_block,
    dense_block,
    image_stack,
    scale_and_shift,
)

from iresnet_tf.bijectors import Residual, from_layer
from iresnet_tf.layers import (
    Dequantize,
    Logit,
    Squeeze,
)

tfd, tfb = tfp.distributions, tfp.bijectors


def real_nvp():
    def shift_and_log_scale(x, output_units, **_):
        mixed = tf.reduce_sum(tf.sin(x), axis=-1, keepdims=True)
        ones = tf.ones([output_units], x.dtype)
        return 0.4 * mixed * ones, 0.3 * mixed * ones

    return tfb.RealNVP(num_masked=1, shift_and_log_scale_fn=shift_and_log_scale)


# name: (bijector, shape of a data sample, shape of a latent sample, range of the data)
CASES = {
    "residual dense": lambda: (Residual(dense_block()), VECTOR, VECTOR, (-2, 2)),
    "residual conv": lambda: (Residual(conv_block()), IMAGE, IMAGE, (-2, 2)),
    "act norm": lambda: (from_layer(act_norm(VECTOR)), VECTOR, VECTOR, (-2, 2)),
    "squeeze": lambda: (
        from_layer(built(Squeeze(dtype="float64"), IMAGE)),
        IMAGE,
        (2, 1, 4),
        (-2, 2),
    ),
    "logit": lambda: (
        from_layer(built(Logit(dtype="float64"), VECTOR)),
        VECTOR,
        VECTOR,
        (0, 1),
    ),
    "dequantize": lambda: (
        from_layer(built(Dequantize(8, dtype="float64"), IMAGE)),
        IMAGE,
        IMAGE,
        (0, 8),
    ),
    "stack": lambda: (from_layer(image_stack()), IMAGE, (2, 1, 4), (0, 8)),
    "chain": lambda: (
        tfb.Chain([Residual(dense_block()), *scale_and_shift(), Residual(dense_block())]),
        VECTOR,
        VECTOR,
        (-2, 2),
    ),
    "chain with squeeze": lambda: (
        tfb.Chain([Residual(conv_block((2, 1, 4))), from_layer(Squeeze(dtype="float64"))]),
        IMAGE,
        (2, 1, 4),
        (-2, 2),
    ),
    "chain with sigmoid": lambda: (
        tfb.Chain([Residual(dense_block()), tfb.Invert(tfb.Sigmoid())]),
        VECTOR,
        VECTOR,
        (0.05, 0.95),
    ),
    "chain with real nvp": lambda: (
        tfb.Chain([real_nvp(), Residual(dense_block())]),
        VECTOR,
        VECTOR,
        (-2, 2),
    ),
    "invert": lambda: (tfb.Invert(Residual(dense_block())), VECTOR, VECTOR, (-2, 2)),
    "invert chain": lambda: (
        tfb.Invert(tfb.Chain([tfb.Softplus(), Residual(dense_block())])),
        VECTOR,
        VECTOR,
        (0.1, 2),
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """``(bijector, data, latent shape)`` with four samples of data, ``[4, …event]``."""
    keras.utils.set_random_seed(1)
    bijector, shape, latent_shape, (low, high) = CASES[request.param]()
    x = np.random.default_rng(7).uniform(low, high, (4, *shape))
    return bijector, tf.constant(x), latent_shape


def maps(bijector, event_ndims, latent_ndims, traced):
    """Returns ``forward``, ``inverse`` and their log-determinants, without a cache."""

    def map_of(method, *ndims):
        def evaluate(x):
            return method(tf.identity(x), *ndims)

        return tf.function(evaluate, reduce_retracing=True) if traced else evaluate

    return (
        map_of(bijector.forward),
        map_of(bijector.inverse),
        map_of(bijector.forward_log_det_jacobian, event_ndims),
        map_of(bijector.inverse_log_det_jacobian, latent_ndims),
    )


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_bijective_with_log_dets_of_the_autodiff_jacobian(case, traced, jacobian_of):
    bijector, samples, latent_shape = case
    shape = tuple(samples.shape[1:])
    forward, inverse, forward_log_det, inverse_log_det = maps(
        bijector, len(shape), len(latent_shape), traced
    )
    expected = np.linalg.slogdet(jacobian_of(bijector.forward, samples))[1]
    for batch, chosen in [((), samples[0]), ((4,), samples), ((2, 2), samples)]:
        x = tf.reshape(chosen, [*batch, *shape])
        y = forward(x)
        assert y.shape == (*batch, *latent_shape)
        assert np.all(np.isfinite(y))
        np.testing.assert_allclose(inverse(y), x, rtol=0, atol=1e-10)
        there, back = forward_log_det(x), inverse_log_det(y)
        assert there.shape == back.shape == batch
        np.testing.assert_allclose(there + back, 0.0, rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            there, expected.reshape(batch) if batch else expected[0], rtol=0, atol=1e-10
        )


def test_event_shapes_static_and_dynamic(case):
    bijector, samples, latent_shape = case
    shape = tuple(samples.shape[1:])
    for batch in [(), (5,), (2, 5)]:
        data, latent = [*batch, *shape], [*batch, *latent_shape]
        assert bijector.forward_event_shape(data) == latent
        assert bijector.inverse_event_shape(latent) == data
        assert list(bijector.forward_event_shape_tensor(data)) == latent
        assert list(bijector.inverse_event_shape_tensor(latent)) == data


def test_min_event_ndims_are_the_ranks_of_a_sample(case):
    bijector, samples, latent_shape = case
    assert bijector.forward_min_event_ndims == samples.shape.rank - 1
    assert bijector.inverse_min_event_ndims == len(latent_shape)


def test_unknown_batch_and_event_dimensions_are_taken_from_a_built_layer():
    bijector = Residual(dense_block())

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float64)])
    def round_trip(x):
        return bijector.inverse(tf.identity(bijector.forward(x)))

    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    np.testing.assert_allclose(round_trip(x), x, rtol=0, atol=1e-10)
