"""Tests that all invertible layers share, on a table of examples."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from every_layer_examples import CASES, CONTEXT, normal

from iresnet_tf import layers

NEEDS_DATA_SHAPE = {"flatten", "factor-out", "stack-multi-scale", "stack-conditional"}
"""Layers with a flat latent, which does not determine the shape of the data."""


def test_every_invertible_layer_is_in_the_table():
    inside = [each for case in CASES.values() for each in parts(case.make("float64"))]
    public = [getattr(layers, name) for name in layers.__all__]
    kinds = {
        kind for kind in public if isinstance(kind, type) and issubclass(kind, layers.Invertible)
    }
    bases = {layers.Invertible, layers.ClosedForm}
    # InjectivePadding has no log-determinant: see test_scales.
    assert kinds - bases - {layers.InjectivePadding} <= set(map(type, inside))


def parts(layer):
    return [layer, *(inner for part in layer.parts for inner in parts(part))]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@functools.cache
def layer_of(case, dtype):
    """Returns the layer with weights other than its initial ones; tests leave them as they are."""
    layer = case.make(dtype)
    layer.build((None, *case.shape))
    for variable in layer.trainable_variables:
        variable.assign_add(0.1 * normal(*variable.shape, seed=1).astype(dtype))
    layers.refresh(layer)
    return layer


def built(case, dtype="float64"):
    """Returns the layer and a batch."""
    return layer_of(case, dtype), case.draw(3, *case.shape).astype(dtype)


def test_shapes(case):
    shape, latent = case.shape, case.latent
    layer, x = built(case)
    y, log_det = layer.forward_and_log_det(x, **case.context())
    assert y.shape == (3, *latent) and log_det.shape == (3,)
    assert layer.compute_output_shape((None, *shape)) == (None, *latent)
    if case not in [CASES[name] for name in NEEDS_DATA_SHAPE]:
        assert tuple(layer.compute_input_shape((None, *latent))) == (None, *shape)
    assert layer.latent_shape == latent and layer.event_shape == shape
    symbolic = {name: keras.Input(CONTEXT, dtype="float64") for name in case.context()}
    assert layer(keras.Input(shape, dtype="float64"), **symbolic).shape == (None, *latent)
    result = layer.inverse(y, **case.context())
    assert result.x.shape == (3, *shape)
    assert all(each.shape == (3,) for each in result[1:])
    assert result.iterations.dtype == tf.int32 and result.converged.dtype == tf.bool


def test_inverse_undoes_the_layer_and_the_layer_its_inverse(case):
    layer, x = built(case)
    y = layer(x, **case.context())
    result = layer.inverse(tf.identity(y), **case.context())
    np.testing.assert_allclose(result.x, x, atol=1e-9)
    np.testing.assert_allclose(layer(result.x, **case.context()), y, atol=1e-9)
    options = layer._inverse_options(y, **case.context())
    np.testing.assert_allclose(layer._inverse_point(y, options), x, atol=1e-9)
    assert result.converged.numpy().all()


def test_log_det_is_that_of_the_jacobian(case, jacobian_of):
    layer, x = built(case)
    expected = [log_det_of(jacobian_of, layer, x[row : row + 1], case, row) for row in range(3)]
    found = layer.forward_and_log_det(x, **case.context())[1]
    np.testing.assert_allclose(found, tf.concat(expected, 0), atol=1e-9)


def log_det_of(jacobian_of, layer, x, case, row):
    """Returns the log-determinant of one sample, the given row, by differentiation."""
    context = {name: each[row : row + 1] for name, each in case.context().items()}
    return tf.linalg.slogdet(jacobian_of(lambda x: layer(x, **context), x))[1]


def test_forward_and_log_det_gives_what_the_call_gives(case):
    layer, x = built(case)
    context = case.context()
    y, _ = layer.forward_and_log_det(x, **context)
    np.testing.assert_allclose(y, layer(x, **context), atol=1e-13)


def test_methods_build_on_first_use(case):
    x, context = case.draw(3, *case.shape), case.context()
    for method in ("forward_and_log_det", "__call__"):
        layer = case.make("float64")
        getattr(layer, method)(x, **context)
        assert layer.built and layer.event_shape == case.shape
    layer = case.make("float64")
    if case in [CASES[name] for name in NEEDS_DATA_SHAPE]:
        with pytest.raises(ValueError, match="does not tell the shape of the data"):
            layer.inverse(normal(3, *case.latent), **context)
    else:
        assert layer.inverse(normal(3, *case.latent), **context).x.shape == (3, *case.shape)


def test_inside_a_function_with_an_unknown_batch(case):
    layer, x = built(case)
    context = [tf.constant(each) for each in case.context().values()]

    def spec(shape):
        rows = [tf.TensorSpec((None, *CONTEXT), tf.float64) for _ in context]
        return [tf.TensorSpec((None, *shape), tf.float64), *rows]

    def keywords(context):
        return {"context": context[0]} if context else {}

    forward = tf.function(
        lambda x, *context: layer.forward_and_log_det(x, seed=1, **keywords(context)),
        input_signature=spec(case.shape),
    )
    expected = layer.forward_and_log_det(x, seed=1, **keywords(context))
    for one, other in zip(forward(x, *context), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    inverse = tf.function(
        lambda y, *context: layer.inverse(y, **keywords(context)),
        input_signature=spec(case.latent),
    )
    y = layer(x, **keywords(context))
    expected = layer.inverse(y, **keywords(context))
    for one, other in zip(inverse(y, *context), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_float32_error_bound_exceeds_the_error(case):
    wide, x = built(case)
    narrow, context = case.make("float32"), case.context()
    narrow.build((None, *case.shape))
    narrow.set_weights(wide.get_weights())
    y = tf.cast(wide(x, **context), tf.float32)
    result = narrow.inverse(y, **context)
    error = tf.cast(result.x, tf.float64) - wide.inverse(tf.cast(y, tf.float64), **context).x
    error = np.linalg.norm(error.numpy().reshape(3, -1), axis=1)
    assert (error <= result.error_bound.numpy()).all()
    assert (result.error_bound.numpy() < 1e-2).all()


def test_inverse_lipschitz_bound_exceeds_every_difference(case):
    layer, x = built(case)
    y = layer(x, **case.context()).numpy()
    near = y + 1e-4 * normal(*y.shape, seed=2)
    found = layer.inverse(near, **case.context()).x.numpy()
    rise = np.linalg.norm(found - x) / np.linalg.norm(near - y)
    assert rise <= float(layer.inverse_lipschitz_bound()) * (1 + 1e-6)


def test_gradients_pass_through_the_layer_and_its_inverse(case, jacobian_of):
    layer, x = built(case)
    y = tf.convert_to_tensor(layer(x, **case.context()))
    cotangent = normal(*x.shape, seed=3)
    with tf.GradientTape() as tape:
        tape.watch(y)
        total = tf.reduce_sum(cotangent * layer.inverse(y, **case.context()).x)
    rows = []
    for row, context in enumerate(case.context().get("context", 3 * [None])):
        own = {} if context is None else {"context": context[np.newaxis]}
        rows.append(jacobian_of(lambda x, own=own: layer(x, **own), x[row : row + 1]))
    transposed = tf.linalg.matrix_transpose(tf.concat(rows, 0))
    expected = tf.linalg.solve(transposed, cotangent.reshape(3, -1, 1))
    np.testing.assert_allclose(tape.gradient(total, y), tf.reshape(expected, y.shape), atol=1e-8)


def test_configuration_round_trip(case):
    layer, _ = built(case)
    compared = plain if case.is_conditional else (lambda config: config)
    again = type(layer).from_config(layer.get_config())
    assert compared(again.get_config()) == compared(layer.get_config())
    serialised = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(serialised)
    assert compared(again.get_config()) == compared(layer.get_config())


def plain(config):
    """Returns the configuration without the ids of shared objects and without build shapes.

    Keras writes both for the network of a context.
    """
    if isinstance(config, dict):
        left_out = ("shared_object_id", "build_config")
        return {name: plain(each) for name, each in config.items() if name not in left_out}
    return [plain(each) for each in config] if isinstance(config, (list, tuple)) else config


def test_saved_model_gives_the_same_outputs(case, tmp_path):
    layer, x = built(case, "float32")
    inputs = keras.Input(case.shape)
    context = {name: keras.Input(CONTEXT) for name in case.context()}
    model = keras.Model([inputs, *context.values()], layer(inputs, **context))
    batch = [x, *(each.astype("float32") for each in case.context().values())]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(batch), model(batch))
    again = loaded.layers[-1]
    for one, other in zip(again.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=other.path)
    context = case.context()
    y = layer(x, **context)
    for one, other in zip(again.inverse(y, **context), layer.inverse(y, **context), strict=True):
        np.testing.assert_array_equal(one, other)
    one, other = (each.forward_and_log_det(x, seed=5, **context)[1] for each in (again, layer))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(case, value):
    layer, x = built(case)
    y = layer(x, **case.context()).numpy()
    x[1].flat[3] = value
    y[2].flat[1] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match="received NaN or Inf in a batch"):
        layer.forward_and_log_det(x, **case.context())
    with pytest.raises(tf.errors.InvalidArgumentError, match="received NaN or Inf in a batch"):
        layer.inverse(y, **case.context())


def test_another_sample_shape_is_refused(case):
    shape, latent = case.shape, case.latent
    layer, _ = built(case)
    for wrong in [(3, *shape[:-1], shape[-1] + 4), (3, *shape, 2), (3,)]:
        with pytest.raises(ValueError, match=r"was built for samples of shape.*received a batch"):
            layer.forward_and_log_det(np.ones(wrong))
        with pytest.raises(ValueError, match="incompatible with the layer"):
            layer(np.ones(wrong), **case.context())
    with pytest.raises(ValueError, match=r"was built for samples of shape.*received a batch"):
        layer.inverse(np.ones((3, *latent[:-1], latent[-1] + 4)))


def test_symbolic_input_to_a_method_is_refused(case):
    for method, shape in [("forward_and_log_det", case.shape), ("inverse", case.latent)]:
        with pytest.raises(ValueError, match="not a symbolic Keras input"):
            getattr(case.make("float64"), method)(keras.Input(shape, dtype="float64"))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_low_precision_is_refused(case, policy):
    with pytest.raises(ValueError, match=f"float32 or float64.*{policy}.*dtype='float32'"):
        case.make(policy)


def test_global_low_precision_policy_is_refused():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(ValueError, match="mixed_bfloat16"):
            layers.ResidualBlock(layers.Contraction.mlp())
    finally:
        keras.config.set_dtype_policy(before)
