"""Products in bfloat16, against float64 products of the rounded factors."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.numerics import maps
from iresnet_tf.numerics.maps.low_precision import rounded_at_random
from iresnet_tf.numerics.structure import tensors_of

EPSILON = 2.0**-8
"""Largest relative error of a number that is rounded to the nearest bfloat16."""


def drawn(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


OPERATORS = {
    "dense": (lambda: maps.Dense(drawn(5, 3)), (5,)),
    "convolution": (lambda: maps.Convolution(drawn(3, 2, 5, 3)), (4, 4, 5)),
    "unrolled": (
        lambda: maps.UnrolledConvolution.from_kernel(drawn(3, 3, 2, 3), (3, 3)),
        (3, 3, 2),
    ),
}


def lowered(g):
    return maps.with_products_in_bfloat16(g, tf.constant([1, 2]))


def rounded(x):
    return tf.cast(tf.cast(x, tf.bfloat16), tf.float64)


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("leading", [(4,), (2, 4)], ids=["batch", "probes"])
def test_a_product_rounds_its_factors_and_its_result(kind, leading):
    make, event = OPERATORS[kind]
    operator = make()
    low = lowered(maps.Affine(operator)).operator
    exact = type(operator)(tf.cast(low.kernel, tf.float64), *plain_fields(operator))
    v = drawn(*leading, *event, seed=1)
    u = drawn(*exact(rounded(v)).shape, seed=2)
    pairs = [
        (low(v), exact(rounded(v))),
        (low.adjoint(u), exact.adjoint(rounded(u))),
        (low.adjoint_in(tf.float32)(u), exact.adjoint(rounded(u))),
        (low.adjoint_in(tf.bfloat16)(tf.cast(u, tf.bfloat16)), exact.adjoint(rounded(u))),
    ]
    assert [found.dtype for found, _ in pairs] == 3 * [tf.float32] + [tf.bfloat16]
    for found, expected in pairs:
        scale = np.abs(expected).max()
        np.testing.assert_allclose(tf.cast(found, tf.float64), expected, atol=EPSILON * scale)
        # The result is rounded, too: it would differ by 1e-7 in float32.
        assert np.abs(tf.cast(found, tf.float64) - expected).max() > 1e-5 * scale
    assert low.multiplications(16) == operator.multiplications(16)
    assert low.takes_any_grid() == operator.takes_any_grid()


def plain_fields(operator):
    return [operator.grid] if isinstance(operator, maps.UnrolledConvolution) else []


def test_kernels_are_rounded_to_their_neighbours_at_random():
    x = tf.concat([drawn(50), [0.0, 1.0, -3.0, 1.0 + EPSILON / 4, -1.0 - EPSILON / 4]], 0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(tf.cast(rounded_at_random(x, tf.constant([1, 2])), tf.float32))
    np.testing.assert_array_equal(tape.gradient(value, x), np.ones(55))
    seeds = tf.stack([tf.range(4000), tf.zeros(4000, tf.int32)], 1)
    draw = tf.function(lambda: tf.map_fn(
        lambda seed: rounded_at_random(x, seed), seeds, fn_output_signature=tf.bfloat16
    ))  # fmt: skip
    draws = tf.cast(draw(), tf.float64).numpy()
    exact = tf.cast(x, tf.float64).numpy()
    spacing = 2.0 * EPSILON * 2.0 ** np.floor(np.log2(np.maximum(np.abs(exact), 1e-9)))
    assert (np.abs(draws - exact) < spacing).all()
    error = draws.std(0) / np.sqrt(len(draws))
    np.testing.assert_array_equal(draws[:, 50:53], np.tile(exact[50:53], (4000, 1)))
    assert (error[53:] > 0.0).all()
    assert (np.abs(draws.mean(0) - exact) <= 4.0 * error + 2.0**-24).all()


def test_only_kernels_are_cast():
    inner = maps.Concatenation(maps.Affine(maps.Dense(drawn(5, 3)), drawn(3)), *drawn(2))
    g = maps.Composition((inner, maps.Elementwise("elu"), maps.Shift(drawn(4, 8), drawn(4))))
    low = lowered(g)
    dtypes = [tensor.dtype for tensor in tensors_of(low)]
    assert dtypes == [tf.bfloat16, *[tf.float32] * 5]
    x = drawn(4, 5)
    assert low(x).dtype == tf.float32
    np.testing.assert_allclose(low(x), g(x), atol=4.0 * EPSILON)


def test_the_rounding_of_an_inverse_is_not_stated():
    low = lowered(maps.Affine(maps.Dense(drawn(3, 3))))
    with pytest.raises(ValueError, match="bfloat16 .*Invert the map of the original kernel"):
        low.rounding_error(drawn(2, 3), drawn(2, 3))
