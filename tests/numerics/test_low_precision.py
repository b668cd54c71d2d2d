"""Products in bfloat16, against float64 products of the rounded factors."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.numerics import maps
from iresnet_tf.numerics.maps import low_precision
from iresnet_tf.numerics.maps.rounding import dithered, narrowed
from iresnet_tf.numerics.maps.share import FirstRows
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
    return maps.in_bfloat16(g, tf.constant([1, 2]))


def rounded(x):
    return tf.cast(tf.cast(x, tf.bfloat16), tf.float64)


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("leading", [(4,), (2, 4)], ids=["batch", "probes"])
def test_a_product_rounds_its_factors_and_its_result(kind, leading):
    make, event = OPERATORS[kind]
    operator = make()
    low = lowered(maps.Affine(operator)).function.operator
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
    operator = maps.Dense(x[tf.newaxis])

    def rounded_kernel(seed):
        return maps.in_bfloat16(maps.Affine(operator), seed).function.operator.kernel[0]

    seeds = tf.stack([tf.range(4000), tf.zeros(4000, tf.int32)], 1)
    draw = tf.function(lambda: tf.map_fn(rounded_kernel, seeds, fn_output_signature=tf.bfloat16))
    draws = tf.cast(draw(), tf.float64).numpy()
    exact = tf.cast(x, tf.float64).numpy()
    spacing = 2.0 * EPSILON * 2.0 ** np.floor(np.log2(np.maximum(np.abs(exact), 1e-9)))
    assert (np.abs(draws - exact) < spacing).all()
    error = draws.std(0) / np.sqrt(len(draws))
    np.testing.assert_array_equal(draws[:, 50:53], np.tile(exact[50:53], (4000, 1)))
    assert (error[53:] > 0.0).all()
    assert (np.abs(draws.mean(0) - exact) <= 4.0 * error).all()


def test_xla_rounds_to_nearest_as_tensorflow_does():
    words = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    halves = np.arange(2**16, dtype=np.uint32) << 16
    numbers = np.concatenate([words, halves, halves + 0x8000]).view(np.float32)
    numbers = numbers[~np.isnan(numbers)]
    compiled = tf.function(narrowed, jit_compile=True)
    found, expected = compiled(numbers), tf.cast(numbers, tf.bfloat16)
    np.testing.assert_array_equal(tf.bitcast(found, tf.uint16), tf.bitcast(expected, tf.uint16))
    assert np.isnan(tf.cast(compiled(tf.constant([np.nan, -np.nan])), tf.float32)).all()


def test_the_mean_of_dithered_numbers_is_exact():
    """Each of nine numbers meets every offset once in 2¹⁶ rows, because 9 · 40503 is odd.

    So as many rows round it up as its lower 16 bits say.
    """
    x = tf.concat([drawn(6), [0.0, 1.0, -3.0]], 0)
    rows = dithered(tf.tile(x[tf.newaxis], [2**16, 1]), tf.constant(1234.0))
    np.testing.assert_array_equal(tf.cast(rows, tf.float64).numpy().mean(0), x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(tf.cast(dithered(x, tf.constant(1234.0)), tf.float32))
    np.testing.assert_array_equal(tape.gradient(value, x), np.ones(9))


@pytest.mark.parametrize(
    ("make", "function"),
    [
        (lambda: maps.ScaledSwish(tf.constant(1.3)), lambda x: x * tf.sigmoid(1.3 * x) / 1.1),
        (lambda: maps.ConcatenatedSwish(tf.constant(1.3)), None),
        (lambda: maps.Scaling(tf.constant(0.6641)), lambda x: 0.6641 * x),
        (lambda: maps.Affine(maps.Dense(tf.eye(4)), tf.fill([4], 0.3)), lambda x: x + 0.3),
        (lambda: maps.Shift(tf.fill([1, 4], 0.3), tf.zeros(1)), lambda x: x + 0.3),
    ],
    ids=["activation", "other map", "factor", "bias", "shift"],
)
def test_the_mean_over_many_numbers_is_not_shifted(make, function):
    """Rounded to the nearest, the means would be off by 7 to 200 of their standard errors."""
    x = tf.cast(tf.abs(drawn(250_000, 4)), tf.bfloat16)
    g, wide = make(), tf.cast(x, tf.float32)
    low = lowered(maps.Composition((g,))).function
    expected = g(wide) if function is None else function(wide)
    error = tf.cast(low(x), tf.float64) - tf.cast(expected, tf.float64)
    mean, deviation = np.mean(error), np.std(error)
    assert deviation > 1e-4
    assert abs(mean) <= 4.0 * deviation / np.sqrt(error.shape.num_elements())


def every_kind():
    """Returns a map with a part of every kind, and its factors: kernels, biases and weights."""
    dense = [maps.Dense(0.3 * drawn(*shape)) for shape in ((5, 6), (11, 8), (8, 8), (16, 4))]
    inner = maps.Composition((maps.Affine(dense[0], drawn(6)), maps.ScaledSwish(tf.constant(3.0))))
    g = maps.Composition((
        maps.Concatenation((maps.Scaling(drawn()), inner)),
        maps.Affine(dense[1], drawn(8)),
        maps.Elementwise("elu"),
        maps.Shift(drawn(4, 8), drawn(4)),
        maps.Affine(dense[2]),
        maps.Elementwise("tanh"),
        maps.PairSort(),
        maps.ConcatenatedSwish(tf.constant(2.0)),
        maps.Affine(dense[3], drawn(4)),
    ))  # fmt: skip
    return g


def test_value_and_products_are_those_of_the_map_but_for_the_rounding():
    g = every_kind()
    low = lowered(g)
    assert sum(tensor.dtype == tf.bfloat16 for tensor in tensors_of(low)) == 4
    x, v, w = drawn(4, 5), drawn(4, 5, seed=1), drawn(4, 4, seed=2)
    # A rounding of every part, whose derivatives are of order one.
    atol = 9.0 * EPSILON * 2.0
    exact, found = g.linearize(x), low.linearize(x)
    pairs = [
        (low(x), g(x)),
        (found.value, exact.value),
        (found.jvp(v), exact.jvp(v)),
        (found.vjp(w), exact.vjp(w)),
    ]
    for one, other in pairs:
        assert one.dtype == tf.float32
        np.testing.assert_allclose(one, other, atol=atol)
    assert found.vjp_in(tf.bfloat16)(tf.cast(w, tf.bfloat16)).dtype == tf.bfloat16
    for size in (3, tf.constant(3)):
        whole, first = low.linearize_at(x, FirstRows(size))
        assert whole.dtype == first.value.dtype == tf.float32
        np.testing.assert_allclose(whole, exact.value, atol=atol)
        np.testing.assert_allclose(first.jvp(v[:3]), exact.jvp(v)[:3], atol=atol)
        np.testing.assert_allclose(first.vjp(w[:3]), exact.vjp(w)[:3], atol=atol)
    assert low.multiplications(1) == g.multiplications(1)
    assert low.takes_any_grid() == g.takes_any_grid()


def test_an_operator_stays_in_float32_where_bfloat16_saves_no_time(monkeypatch):
    operator = maps.Dense(drawn(5, 3))
    for saves in (True, False):
        monkeypatch.setattr(low_precision, "rounds_products_to_nearest", lambda saves=saves: saves)
        assert (maps.operator_in_bfloat16(operator) is operator) == (not saves)


def test_functions_that_are_not_known_stay_in_float32():
    function = maps.Automatic(lambda x: tf.tanh(x) / 3.0)
    x = drawn(4, 5)
    assert lowered(function) is function
    mixed = lowered(maps.Composition((function, maps.Affine(maps.Dense(drawn(5, 5))))))
    inner = mixed.function.maps[0]
    # Dithered values are those of one of the two neighbours.
    np.testing.assert_allclose(
        tf.cast(inner(tf.cast(x, tf.bfloat16)), x.dtype),
        function(tf.cast(rounded(x), x.dtype)),
        rtol=2.0 * EPSILON,
    )


def test_the_gradient_of_a_bias_is_summed_in_float32():
    """In bfloat16, a sum of 4,096 numbers of size one would stop at 256."""
    bias = drawn(2)
    x = 1.0 + 0.1 * drawn(4, 32, 32, 2)
    with tf.GradientTape() as tape:
        tape.watch(bias)
        g = lowered(maps.Affine(maps.Convolution(tf.ones([1, 1, 2, 2])), bias))
        loss = tf.reduce_sum(x * g(x))
    exact = tf.reduce_sum(tf.cast(tf.cast(x, tf.bfloat16), tf.float64), [0, 1, 2])
    np.testing.assert_allclose(tape.gradient(loss, bias), exact, rtol=EPSILON)


@pytest.mark.parametrize("value_only", [True, False])
def test_swish_is_rounded_once(value_only):
    x = tf.cast(4.0 * drawn(50, 20), tf.bfloat16)
    weights = [tf.cast(drawn(50, 20, seed=seed), tf.bfloat16) for seed in (1, 2)]
    slope = tf.constant(3.0)

    def outputs(activation, x, slope):
        activation = activation(slope)
        if value_only:
            return [activation(x)]
        linearization = activation.linearize(x)
        return [linearization.value, linearization.jvp(tf.ones_like(x))]

    def graded(activation, x, slope, dtype):
        with tf.GradientTape() as tape:
            tape.watch([x, slope])
            found = outputs(activation, x, slope)
            losses = [tf.cast(a, dtype) * tf.cast(b, dtype) for a, b in zip(found, weights)]
            loss = tf.add_n([tf.reduce_sum(each) for each in losses])
        return found, tape.gradient(loss, [x, slope])

    found, (to_x, to_slope) = graded(
        lambda slope: maps.Fused(maps.ScaledSwish(slope), tf.constant(1234.0)), x, slope, tf.float32
    )
    wide = tf.cast(x, tf.float64), tf.cast(slope, tf.float64)
    exact, (exact_to_x, exact_to_slope) = graded(maps.ScaledSwish, *wide, tf.float64)
    for one, other in zip([*found, to_x], [*exact, exact_to_x], strict=True):
        assert one.dtype == tf.bfloat16
        np.testing.assert_allclose(
            tf.cast(one, tf.float64), other, rtol=2.0 * EPSILON, atol=1e-5 * np.abs(other).max()
        )
    # Each of the 1,000 terms has a relative error of 2⁻²⁴ in float32, the sum a few more.
    np.testing.assert_allclose(to_slope, exact_to_slope, rtol=1e-4)


def test_the_rounding_of_an_inverse_is_not_stated():
    low = lowered(maps.Affine(maps.Dense(drawn(3, 3))))
    with pytest.raises(ValueError, match="bfloat16 .*Invert the map of the original kernel"):
        low.rounding_error(drawn(2, 3), drawn(2, 3))
