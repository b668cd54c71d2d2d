"""Second derivatives: right where there are any, refused where there are none."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from derivatives import by_differences, score

from iresnet_tf import layers, log_det, solvers
from iresnet_tf.bijectors import Residual

tfd, tfb = tfp.distributions, tfp.bijectors

SHAPES = {"dense": (2,), "conv": (2, 2, 1)}


def block_of(kind, estimator=None, recompute=False):
    options = {"activation": "lipswish", "dtype": "float64"}
    if kind == "dense":
        g = layers.Contraction.mlp((8,), **options)
    else:
        g = layers.Contraction.conv(3, (3, 1), **options)
    # Differences of 1e-5 divide the error of an inverse by as much.
    solver = solvers.Anderson(tolerance=1e-14)
    block = layers.ResidualBlock(g, estimator or log_det.Exact(), solver, recompute=recompute)
    block.build((None, *SHAPES[kind]))
    for layer in layers.spectral_layers(block):
        layer.kernel.assign(3.0 * layer.kernel)
    layers.refresh(block)
    return block


def points(kind):
    return tf.constant(np.random.default_rng(0).normal(size=(2, *SHAPES[kind])))


def hessian(function, x):
    """Returns the Hessians ``[2, D, D]``, row by row."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        components = tf.unstack(tf.reshape(score(function, x), [2, -1]), axis=1)
    rows = [tape.gradient(each, x).numpy().reshape(2, -1) for each in components]
    return np.stack(rows, 1)


def functions(kind):
    block = block_of(kind)
    prior = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), SHAPES[kind])
    flow = tfd.TransformedDistribution(prior, tfb.Invert(Residual(block)))
    return {
        "log-det": lambda x: block.forward_and_log_det(x)[1],
        "forward": lambda x: tf.sin(block(x)),
        "inverse": lambda y: tf.sin(block.inverse(y).x),
        "log_prob": flow.log_prob,
    }


slow = pytest.mark.slow
# A convolution has other derivatives than a matrix; the rule of the inverse is the same for both.
SECOND = [
    *(("dense", name, False) for name in ("log-det", "forward", "inverse", "log_prob")),
    *(("dense", name, True) for name in ("log-det", "forward", "inverse", "log_prob")),
    *(("conv", name, False) for name in ("log-det", "forward")),
    *(pytest.param("conv", name, False, marks=slow) for name in ("inverse", "log_prob")),
    *(
        pytest.param("conv", name, True, marks=slow)
        for name in ("log-det", "forward", "inverse", "log_prob")
    ),
]


@pytest.mark.parametrize("kind, name, traced", SECOND)
def test_second_derivatives_are_those_of_finite_differences(kind, name, traced):
    function, x = functions(kind)[name], points(kind)
    if traced:
        function = tf.function(function, autograph=False)
    expected = by_differences(function, x)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(hessian(function, x), expected, rtol=0, atol=1e-6)


def test_recomputed_blocks_have_the_second_derivative_too():
    block, x = block_of("dense", recompute=True), points("dense")

    def function(x):
        return block.forward_and_log_det(x)[1]

    np.testing.assert_allclose(hessian(function, x), by_differences(function, x), atol=1e-6)


@pytest.mark.parametrize("through", ["log-det", "inverse"])
def test_the_score_has_a_gradient_in_the_weights(through):
    block, x = block_of("dense"), points("dense")
    kernel = block.g.parts[0].kernel.value

    def total():
        if through == "log-det":
            return tf.reduce_sum(score(lambda x: block.forward_and_log_det(x)[1], x) ** 2)
        return tf.reduce_sum(score(lambda y: tf.sin(block.inverse(y).x), x) ** 2)

    with tf.GradientTape() as tape:
        value = total()
    found = tape.gradient(value, kernel)[0, 0]
    before, values = kernel.numpy(), []
    for sign in (1.0, -1.0):
        step = np.zeros_like(before)
        step[0, 0] = sign * 1e-5
        kernel.assign(before + step)
        values.append(float(total()))
    np.testing.assert_allclose(found, (values[0] - values[1]) / 2e-5, rtol=1e-4, atol=1e-6)


ESTIMATORS = [log_det.PowerSeries(4), log_det.RussianRoulette(), log_det.Krylov(2)]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=["series", "roulette", "krylov"])
@pytest.mark.parametrize(
    "recompute, traced",
    [(False, False), (True, False), (False, True), pytest.param(True, True, marks=slow)],
)
def test_a_series_has_no_second_derivative_and_says_what_has(estimator, recompute, traced):
    block, x = block_of("dense", estimator, recompute), points("dense")

    def function(x):
        return block.forward_and_log_det(x, seed=1)[1]

    if traced:
        function = tf.function(function, autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Use log_det=Exact\(\)"):
        score(lambda x: score(function, x), x)
    # A first derivative inside another tape is none of the second order.
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        inside = score(function, x)
    np.testing.assert_array_equal(inside, score(function, x))


def test_a_third_derivative_of_the_inverse_is_refused():
    block, x = block_of("dense"), points("dense")
    with tf.GradientTape() as tape:
        tape.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            first = tf.reduce_sum(score(lambda y: tf.sin(block.inverse(y).x), x) ** 2)
        second = inner.gradient(first, x)
    with pytest.raises(tf.errors.InvalidArgumentError, match="first and second order"):
        tape.gradient(second, x)
