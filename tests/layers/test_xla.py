"""Blocks in programs that XLA compiles, and in loops."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from derivatives import by_differences, score

from iresnet_tf import layers, log_det, solvers
from iresnet_tf.bijectors import Residual
from iresnet_tf.numerics import random

tfd, tfb = tfp.distributions, tfp.bijectors

SHAPES = {"dense": (2,), "conv": (4, 4, 2)}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
slow = pytest.mark.slow


def block_of(kind, estimator=None, *, dtype="float64", solver=None, recompute=False, **options):
    options = {"activation": "lipswish", "dtype": dtype, **options}
    if kind == "dense":
        g = layers.Contraction.mlp((8,), **options)
    else:
        g = layers.Contraction.conv(3, (3, 1), **options)
    solver = solver or solvers.Picard(tolerance=1e-13)
    block = layers.ResidualBlock(g, estimator or log_det.Exact(), solver, recompute=recompute)
    block.build((None, *SHAPES[kind]))
    for layer in layers.spectral_layers(block):
        layer.kernel.assign(3.0 * layer.kernel)
    layers.refresh(block)
    return block


def points(kind, dtype="float64"):
    return tf.constant(np.random.default_rng(0).normal(size=(3, *SHAPES[kind])), dtype)


def xla(function):
    return tf.function(function, autograph=False, jit_compile=True)


def assert_same(function, x):
    """Compares the values and the gradient of a function with those outside XLA."""

    def both(x):
        return [*function(x), score(lambda x: sum(map(_total, function(x))), x)]

    for found, expected in zip(xla(both)(x), both(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[x.dtype.name])


def _total(tensor):
    return tf.reduce_sum(tf.sin(tensor))


ESTIMATORS = {
    "exact": log_det.Exact(),
    "series": log_det.PowerSeries(4, distribution="gaussian"),
    "krylov": log_det.Krylov(3),
    "roulette": log_det.RussianRoulette(),
    "coloured": log_det.Coloured(log_det.PowerSeries(4)),
}


CASES = [
    *(("dense", name) for name in ESTIMATORS),
    *(("conv", name) for name in ("series", "coloured")),
    *(pytest.param("conv", name, marks=slow) for name in ("exact", "krylov", "roulette")),
]


@pytest.mark.parametrize("kind, name", CASES)
def test_a_block_gives_the_same_under_xla(kind, name):
    block = block_of(kind, ESTIMATORS[name])
    assert_same(lambda x: block.forward_and_log_det(x, seed=7), points(kind))


def test_a_recomputed_block_gives_the_same_under_xla():
    block = block_of("dense", log_det.PowerSeries(3), recompute=True)
    assert_same(lambda x: block.forward_and_log_det(x, seed=7), points("dense"))


INVERSES = [
    ("dense", "float32", solvers.Picard(tolerance=1e-6)),
    pytest.param("dense", "float64", solvers.Anderson(tolerance=1e-13), marks=slow),
    pytest.param("dense", "float32", solvers.Anderson(tolerance=1e-6), marks=slow),
    pytest.param("conv", "float64", solvers.Picard(tolerance=1e-13), marks=slow),
    pytest.param("conv", "float32", solvers.Anderson(tolerance=1e-6), marks=slow),
]


@pytest.mark.parametrize("kind,dtype,solver", INVERSES, ids=str)
def test_an_inverse_is_the_same_under_xla(kind, dtype, solver):
    block = block_of(kind, dtype=dtype, solver=solver)
    assert_same(lambda y: [block.inverse(y).x], points(kind, dtype))


def test_a_conditional_block_gives_the_same_under_xla():
    block = block_of("dense", context_shape=(2,))
    context = points("dense")[::-1]
    assert_same(lambda x: block.forward_and_log_det(x, context=context), points("dense"))
    assert_same(lambda y: [block.inverse(y, context=context).x], points("dense"))


def test_xla_certifies_no_norm_and_says_so():
    block, y = block_of("dense"), points("dense")
    found = xla(lambda y: block.inverse(y))(y)
    assert found.converged.numpy().all()
    assert np.isinf(found.error_bound).all()
    assert math.isfinite(block.inverse(y).error_bound.numpy().max())
    with pytest.raises(layers.UnknownLipschitzError, match="outside the function"):
        xla(block.lipschitz_bound)()


def test_xla_refuses_a_poisson_law():
    with pytest.warns(UserWarning, match="infinite variance"):
        block = block_of("dense", log_det.RussianRoulette("poisson"))
    with pytest.raises(ValueError, match="law='geometric'"):
        xla(lambda x: block.forward_and_log_det(x, seed=1))(points("dense"))


@pytest.mark.parametrize("seed", [[5, 1], [-5, 1], [5, -1], [-5, 1, 2, 9]], ids=str)
def test_xla_draws_the_same_numbers(seed):
    seed = tf.constant(seed)

    def drawn():
        draws = random.uniform, random.gaussian, random.rademacher
        numbers = [draw([5, 3], seed, dtype) for draw in draws for dtype in TOLERANCE]
        return [*numbers, random.fold_in(seed, 3)]

    for found, expected in zip(xla(drawn)(), drawn(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def hessian(function, x):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        first = tf.reshape(score(function, x), [x.shape[0], -1])
        rows = tf.unstack(tf.reduce_sum(first, 0))
    rows = [tf.reshape(tape.gradient(row, x), [x.shape[0], -1]) for row in rows]
    return tf.stack(rows, 1)


@pytest.mark.parametrize(
    "kind,name",
    [
        ("dense", "forward"),
        pytest.param("dense", "log_prob", marks=slow),
        pytest.param("dense", "inverse", marks=slow),
        pytest.param("conv", "log_prob", marks=slow),
        pytest.param("conv", "inverse", marks=slow),
    ],
)
def test_second_derivatives_under_xla_are_those_of_finite_differences(kind, name):
    block = block_of(kind, solver=solvers.Picard(tolerance=1e-14))
    prior = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), SHAPES[kind])
    flow = tfd.TransformedDistribution(prior, tfb.Invert(Residual(block)))
    functions = {
        "forward": lambda x: tf.sin(block(x)),
        "log_prob": flow.log_prob,
        "inverse": lambda y: tf.sin(block.inverse(y).x),
    }
    function, x = functions[name], points(kind)
    found = xla(lambda x: hessian(function, x))(x)
    np.testing.assert_allclose(found, by_differences(function, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=slow)], ids=["function", "xla"]
)
@pytest.mark.parametrize(
    "name",
    ["forward", pytest.param("log_det", marks=slow), pytest.param("inverse", marks=slow)],
)
def test_a_loop_may_carry_points_and_gradients(name, compiled):
    block, x = block_of("dense", dtype="float32", solver=solvers.Picard(tolerance=1e-7)), None
    function = {
        "forward": block,
        "log_det": lambda x: x + block.forward_and_log_det(x)[1][:, tf.newaxis],
        "inverse": lambda x: block.inverse(x).x,
    }[name]
    x = points("dense", "float32")

    def body(i, x, slope):
        return i + 1, 0.5 * function(x), score(lambda x: tf.sin(function(x)), x + slope)

    def looped(x):
        start = 0, x, tf.zeros_like(x)
        return tf.while_loop(lambda i, *_: i < 2, body, start, maximum_iterations=2)[1:]

    def unrolled(x):
        return body(*body(0, x, tf.zeros_like(x)))[1:]

    def outside(loop):
        if compiled and name == "log_det":
            # XLA does not differentiate a loop whose body differentiates transposed matrices.
            return loop
        return lambda x: [*loop(x), score(lambda x: tf.sin(loop(x)[0]), x)]

    traced = tf.function(outside(looped), autograph=False, jit_compile=compiled)
    for found, expected in zip(traced(x), outside(unrolled)(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@slow
def test_stock_samplers_and_guides_compile():
    block = block_of("dense", dtype="float32", solver=solvers.Anderson())
    prior = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    flow = tfd.TransformedDistribution(prior, tfb.Invert(Residual(block)))
    kernel = tfp.mcmc.HamiltonianMonteCarlo(flow.log_prob, 0.1, 2)

    def chain():
        start = tf.ones([4, 2])
        return tfp.mcmc.sample_chain(2, start, kernel=kernel, trace_fn=None, seed=[1, 2])

    assert np.isfinite(xla(chain)()).all()
    guide = tfd.TransformedDistribution(prior, Residual(block))
    sample = xla(lambda: flow.sample(5, seed=[1, 2]))()
    assert sample.shape == (5, 2) and np.isfinite(sample).all()
    assert np.isfinite(xla(lambda: guide.sample(5, seed=[1, 2]))()).all()
