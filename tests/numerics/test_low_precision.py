"""Products in bfloat16, against float64 products of the rounded factors."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.numerics import maps
from iresnet_tf.numerics.structure import tensors_of

EPSILON = 2.0**-8
"""Distance of 1 to the next bfloat16."""


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


def rounded(x):
    return tf.cast(tf.cast(x, tf.bfloat16), tf.float64)


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("leading", [(4,), (2, 4)], ids=["batch", "probes"])
def test_a_product_rounds_its_factors_and_its_result(kind, leading):
    make, event = OPERATORS[kind]
    operator = make()
    low = maps.with_products_in(tf.bfloat16, maps.Affine(operator)).operator
    exact = type(operator)(rounded(operator.kernel), *plain_fields(operator))
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


def test_only_kernels_are_cast():
    inner = maps.Concatenation(maps.Affine(maps.Dense(drawn(5, 3)), drawn(3)), *drawn(2))
    g = maps.Composition((inner, maps.Elementwise("elu"), maps.Shift(drawn(4, 8), drawn(4))))
    low = maps.with_products_in(tf.bfloat16, g)
    dtypes = [tensor.dtype for tensor in tensors_of(low)]
    assert dtypes == [tf.bfloat16, *[tf.float32] * 5]
    x = drawn(4, 5)
    assert low(x).dtype == tf.float32
    np.testing.assert_allclose(low(x), g(x), atol=4.0 * EPSILON)


def test_the_rounding_of_an_inverse_is_not_stated():
    low = maps.with_products_in(tf.bfloat16, maps.Affine(maps.Dense(drawn(3, 3))))
    with pytest.raises(ValueError, match="bfloat16 .*Invert the map of the original kernel"):
        low.rounding_error(drawn(2, 3), drawn(2, 3))
