"""Tests the maps of spectral layers, whose kernels are constrained where the map is applied."""

import numpy as np
import pytest
import tensorflow as tf
from spectral_examples import built

from iresnet_tf import layers
from iresnet_tf.numerics import maps
from iresnet_tf.numerics.execution import compiled

KINDS = {
    "dense": {"kind": "dense"},
    "convolution": {"kind": "conv"},
    "1×1": {"kind": "conv", "kernel_size": 1},
    "unrolled": {"kind": "conv", "grid": (3, 2)},
    "infinity-norm": {"kind": "conv", "p": np.inf},
    "learned": {"kind": "dense", "p": "learned"},
    "free": {"kind": "conv", "coeff": None},
    "mixed": {"kind": "dense", "dtype": "mixed_bfloat16"},
}


def large(**options):
    """Returns a layer whose constraint is active and whose bias is not zero."""
    layer = built(**options)
    layer.kernel.assign(10.0 * layer.kernel)
    layer.bias.assign(np.arange(layer.bias.shape[0]))
    return layer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_the_map_has_the_kernel_that_is_certified(kind, traced):
    layer = large(**KINDS[kind])

    def affine():
        found = maps.derived(layer.bind())
        return found.operator.kernel, found.bias

    kernel, bias = tf.function(affine)() if traced else affine()
    expected = layer.constrained_kernel()
    if kind == "unrolled":
        expected = maps.UnrolledConvolution.from_kernel(expected, layer.grid).kernel
    assert kernel.dtype == bias.dtype == layer.compute_dtype
    np.testing.assert_array_equal(kernel, tf.reshape(expected, kernel.shape))
    np.testing.assert_array_equal(bias, np.arange(4))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mixed"])
def test_each_method_is_that_of_the_derived_map(kind):
    layer = large(**KINDS[kind])
    g, x = layer.bind(), tf.random.stateless_normal([2, *layer.vector_shapes()[0][1:]], [1, 2])
    if "grid" in vars(layer):
        x = tf.random.stateless_normal([2, *layer.grid, 3], [1, 2])
    plain = maps.derived(g)
    assert isinstance(plain, maps.Affine) and maps.derived(plain).operator is not None
    value = plain(x)
    np.testing.assert_array_equal(g(x), value)
    np.testing.assert_array_equal(g.linearize(x).jvp(x), plain.linearize(x).jvp(x))
    np.testing.assert_array_equal(g.linearize(x).vjp(value), plain.linearize(x).vjp(value))
    np.testing.assert_array_equal(g.rounding_gain(), plain.rounding_gain())
    np.testing.assert_array_equal(g.rounding_error(x, value), plain.rounding_error(x, value))
    assert g.multiplications(6) == plain.multiplications(6) > 0
    assert g.takes_any_grid() == plain.takes_any_grid()


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_a_call_of_a_block_runs_one_compiled_function(monkeypatch, contraction, batch_for, kind):
    block, x = layers.ResidualBlock(contraction(kind)), batch_for(kind, 3)
    block.build(x.shape)

    def use():
        y, log_det = block.forward_and_log_det(x, seed=1)
        np.testing.assert_array_equal(block.call(x), y)
        return block._inverse_point(y, block._inverse_options(y)), log_det

    expected = use()

    def refuse(*arguments):
        raise AssertionError("A kernel is constrained by a call of its own.")

    monkeypatch.setattr(compiled, "call", refuse)
    for found, value in zip(use(), expected):
        np.testing.assert_array_equal(found, value)


def test_the_vectors_get_no_gradient(contraction, batch_for):
    g, x = contraction("conv"), batch_for("conv", 2)
    first = layers.spectral_layers(g)[0]
    with tf.GradientTape() as tape:
        tape.watch([first.left_vector.value, first.right_vector.value])
        loss = tf.reduce_sum(first(x))
    assert tape.gradient(loss, [first.left_vector.value, first.right_vector.value]) == [None, None]
