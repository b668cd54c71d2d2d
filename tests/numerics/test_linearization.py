"""Values and Jacobian products against automatic differentiation, in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers
from iresnet_tf.layers import activations
from iresnet_tf.layers.contractive import as_contractive
from iresnet_tf.numerics.maps.share import FirstRows
from iresnet_tf.numerics.maps.swish import swish, swish_value

SCALAR = ["relu", "elu", "softplus", "sigmoid", "tanh", "linear", "lipswish"]
ACTIVATIONS = [*SCALAR, "clipswish", "maxmin"]


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape))


def activation_map(name, slope=None):
    layer = activations.get(name, dtype="float64")
    layer.build((None, 4))
    if slope is not None and layer.weights:
        layer.beta.assign(slope)
    return layer.bind()


def stock_layers(shape):
    """Returns a contraction of Keras layers, which have no explicit linearization."""
    options = {"dtype": "float64"}
    if len(shape) == 1:
        parts = [
            keras.layers.Dense(5, activation="tanh", **options),
            keras.layers.Dense(shape[0], **options),
        ]
    else:
        parts = [
            keras.layers.Conv2D(3, 3, padding="same", activation="softplus", **options),
            keras.layers.Conv2D(shape[-1], 3, padding="same", **options),
        ]
    return layers.Contraction(parts, lipschitz=0.9, **options)


def assert_linearization(function, x, jacobian):
    """Checks ``function.linearize(x)`` against ``function`` and Jacobians ``[batch, out, in]``.

    It also checks the linearization at all rows but the last, or at the only one.
    """
    value = function(x)
    assert_products(function.linearize(x), value, x, jacobian)
    rows = FirstRows(max(1, x.shape[0] - 1))
    whole, linearization = function.linearize_at(x, rows)
    np.testing.assert_allclose(whole, value, atol=1e-14)
    assert_products(linearization, *(each[: rows.size] for each in (value, x, jacobian)))


def assert_products(linearization, value, x, jacobian):
    np.testing.assert_allclose(linearization.value, value, atol=1e-14)
    out = linearization.value.shape
    batch, rows, columns = jacobian.shape
    for leading in [(), (1,), (3,)]:
        v, w = normal(*leading, *x.shape, seed=1), normal(*leading, *out, seed=2)
        jvp, vjp = linearization.jvp(v), linearization.vjp(w)
        expected = tf.einsum("boi,pbi->pbo", jacobian, tf.reshape(v, [-1, batch, columns]))
        np.testing.assert_allclose(jvp, tf.reshape(expected, w.shape), atol=1e-12)
        expected = tf.einsum("boi,pbo->pbi", jacobian, tf.reshape(w, [-1, batch, rows]))
        np.testing.assert_allclose(vjp, tf.reshape(expected, v.shape), atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2, 4)], ids=["dense", "conv"])
def test_activation(jacobian_of, name, shape):
    function, x = activation_map(name), 2.0 * normal(*shape)
    assert_linearization(function, x, jacobian_of(function, x))


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_contraction(contraction, batch_for, jacobian_of, kind, name):
    function, x = contraction(kind, name).bind(), batch_for(kind, 2)
    assert_linearization(function, x, jacobian_of(function, x))


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("name", ["elu", "clipswish"])
def test_contraction_with_preactivation(contraction, batch_for, jacobian_of, kind, name):
    function, x = contraction(kind, name, preactivation=True).bind(), batch_for(kind, 2)
    assert_linearization(function, x, jacobian_of(function, x))


@pytest.mark.parametrize("shape", [(4,), (3, 4, 2)], ids=["dense", "conv"])
def test_stock_keras_layers_by_automatic_differentiation(jacobian_of, shape):
    g, x = stock_layers(shape), normal(3, *shape)
    g.build((None, *shape))
    assert_linearization(g.bind(), x, jacobian_of(g, x))


def test_a_bare_keras_layer_is_bound_by_automatic_differentiation(jacobian_of):
    layer, x = keras.layers.Dense(4, activation="sigmoid", dtype="float64"), normal(3, 4)
    layer.build((None, 4))
    assert_linearization(as_contractive(layer).bind(), x, jacobian_of(layer, x))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_own_and_stock_layers_in_one_contraction(jacobian_of, kind):
    options = {"dtype": "float64"}
    own = layers.SpectralDense if kind == "dense" else layers.SpectralConv2D
    g = layers.Contraction(
        [own(4, **options), keras.layers.Activation("tanh", **options), own(**options)],
        **options,
    )
    x = normal(2, *((3,) if kind == "dense" else (3, 4, 2)))
    g.build(x.shape)
    assert_linearization(g.bind(), x, jacobian_of(g, x))


def test_nested_contractions_compose(contraction, batch_for, jacobian_of):
    g = layers.Contraction(
        [contraction("dense", "elu"), contraction("dense", "tanh", seed=1)], dtype="float64"
    )
    x = batch_for("dense", 2)
    g.build(x.shape)
    assert_linearization(g.bind(), x, jacobian_of(g, x))


@pytest.mark.parametrize("probes", [1, 2])
@pytest.mark.parametrize("name", ["elu", "lipswish", "clipswish", "stock"])
def test_products_are_differentiable_in_the_weights(
    contraction, batch_for, jacobian_of, name, probes
):
    """Compares the gradients of ``⟨w, J v⟩`` by the explicit product and by the Jacobian."""
    if name == "stock":
        g = stock_layers((6,))
        g.build((None, 6))
    else:
        g = contraction("dense", name)
    x = batch_for("dense", 3)
    v, w = normal(probes, 3, 6, seed=1), normal(probes, 3, 6, seed=2)
    with tf.GradientTape() as tape:
        jvp = tf.reduce_sum(w * g.bind().linearize(x).jvp(v))
    weights = [each.value for each in g.trainable_variables]
    by_product = tape.gradient(jvp, weights, unconnected_gradients="zero")
    with tf.GradientTape() as tape:
        jvp = tf.einsum("pbo,boi,pbi->", w, jacobian_of(g, x), v)
    by_jacobian = tape.gradient(jvp, weights, unconnected_gradients="zero")
    for variable, one, other in zip(g.trainable_variables, by_product, by_jacobian, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11, err_msg=variable.path)


def slopes(name, slope=None):
    """Returns ``√Σ_out (∂out/∂in)²`` on a fine grid, by differentiation of the map's value."""
    x = tf.linspace(tf.constant(-30.0, tf.float64), 30.0, 600_001)[:, tf.newaxis]
    function = activation_map(name, slope)
    columns = function(x).shape[-1]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        parts = tf.unstack(function(x), columns, axis=1)
    return np.sqrt(sum(np.square(tape.gradient(part, x).numpy()) for part in parts))


@pytest.mark.parametrize("name", [*SCALAR, "clipswish"])
@pytest.mark.parametrize("slope", [-2.0, 0.5, 3.0])
def test_no_activation_has_a_slope_above_its_constant(name, slope):
    constant = activations.get(name).lipschitz_bound()
    largest = slopes(name, slope).max()
    assert 0.99 * constant <= largest <= constant + 1e-12 and constant <= 1.0


def test_maxmin_keeps_the_norm_of_every_tangent():
    v = normal(5, 4, seed=1)
    image = activation_map("maxmin").linearize(normal(5, 4)).jvp(v)
    np.testing.assert_allclose(tf.norm(image, axis=1), tf.norm(v, axis=1), rtol=1e-14)


def plain_swish(x, slope):
    s = tf.sigmoid(slope * x)
    return x * s, s * (1.0 + slope * x * (1.0 - s))


def swish_derivatives(function, x, slope):
    """Returns first and second derivatives of a scalar made of value and derivative."""
    weights = normal(2, *x.shape, seed=3)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([x, slope])
        with tf.GradientTape() as inner:
            inner.watch([x, slope])
            value, derivative = function(x, slope)
            total = tf.reduce_sum(weights[0] * value + weights[1] * derivative)
        first = inner.gradient(total, [x, slope])
        along = tf.reduce_sum(tf.sin(x) * first[0])
    return first, outer.gradient(along, [x, slope]), outer.gradient(first[1], [x, slope])


def test_written_out_gradient_of_swish_is_that_of_the_plain_formula():
    x, slope = 3.0 * normal(4, 5), tf.constant(0.7, tf.float64)
    for one, other in zip(swish(x, slope), plain_swish(x, slope), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)
    own, plain = swish_derivatives(swish, x, slope), swish_derivatives(plain_swish, x, slope)
    for one, other in zip(tf.nest.flatten(own), tf.nest.flatten(plain), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_gradients_of_the_value_of_swish_are_those_of_the_plain_formula():
    x, slope = 3.0 * normal(4, 5), tf.constant(0.7, tf.float64)

    def with_zero(function):
        return lambda x, slope: (function(x, slope), tf.zeros_like(x))

    np.testing.assert_array_equal(swish_value(x, slope), swish(x, slope)[0])
    own = swish_derivatives(with_zero(swish_value), x, slope)
    plain = swish_derivatives(with_zero(lambda *given: plain_swish(*given)[0]), x, slope)
    for one, other in zip(tf.nest.flatten(own), tf.nest.flatten(plain), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
