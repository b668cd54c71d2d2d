"""Norms with exponents other than 2 against brute force, and layers that they bound."""

import functools
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from iresnet_tf import layers
from iresnet_tf.numerics.maps.operators import Convolution, Dense
from iresnet_tf.numerics.norms import induced_norm

EXPONENTS = (1.0, 1.3, 2.0, 3.5, math.inf)


def norm(v, p):
    return np.linalg.norm(np.ravel(v), p)


def largest_ratio(matrix, p, q, starts=60, seed=0):
    """Returns ``max ‖M x‖_q / ‖x‖_p``, by many local searches or, at corners, by enumeration."""
    rows, columns = matrix.shape
    if p == 1.0:
        return max(norm(column, q) for column in matrix.T)
    if p == math.inf:
        return max(norm(matrix @ s, q) for s in itertools.product((-1.0, 1.0), repeat=columns))
    if q == math.inf:
        return max(norm(row, p / (p - 1.0)) for row in matrix)

    def loss(x):
        return -norm(matrix @ x, q) / norm(x, p)

    random = np.random.default_rng(seed)
    found = [optimize.minimize(loss, random.normal(size=columns)).fun for _ in range(starts)]
    return -min(found)


@pytest.fixture(params=EXPONENTS, ids=lambda p: f"p={p}")
def p(request):
    return request.param


@pytest.fixture(params=EXPONENTS, ids=lambda q: f"q={q}")
def q(request):
    return request.param


KERNEL = np.random.default_rng(3).standard_normal((5, 4))


@pytest.fixture
def kernel():
    return KERNEL


@functools.cache
def norm_of_the_kernel(p, q):
    return largest_ratio(KERNEL.T, p, q)


def test_the_dual_attains_the_norm(p):
    v = tf.constant(np.random.default_rng(0).standard_normal((3, 2, 4)))
    w = induced_norm.dual(v, 1.0 / p)
    conjugate = math.inf if p == 1.0 else 1.0 if p == math.inf else p / (p - 1.0)
    for one, its_dual in zip(v.numpy(), w.numpy()):
        assert np.sum(one * its_dual) == pytest.approx(norm(one, p), rel=1e-12)
        assert norm(its_dual, conjugate) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(
        induced_norm.vector_norm(v, 1.0 / p), [norm(each, p) for each in v.numpy()], rtol=1e-12
    )


def test_huge_and_tiny_vectors_keep_their_norm():
    for scale in (1e-200, 1e200):
        v = tf.constant([[3.0 * scale, 4.0 * scale]], tf.float64)
        assert float(induced_norm.vector_norm(v, 0.5)[0]) == pytest.approx(5.0 * scale)
        np.testing.assert_allclose(induced_norm.dual(v, 0.5), [[0.6, 0.8]])
    assert not np.any(induced_norm.dual(tf.zeros([1, 3]), 0.5))


def test_power_iteration_finds_the_norm_of_a_small_matrix(kernel, p, q):
    found = induced_norm.InducedNorm(1.0 / p, 1.0 / q)
    operator = Dense(tf.constant(kernel))
    triple = found.leading_triple(operator, tf.ones([1, 5], tf.float64), tolerance=1e-9)
    expected = norm_of_the_kernel(p, q)
    assert float(triple.sigma) == pytest.approx(expected, rel=1e-6)
    value = found.of(operator, triple.u, triple.v)
    assert float(value) == pytest.approx(expected, rel=1e-6)


def test_the_certified_bound_is_never_below_the_norm(kernel, p, q):
    euclidean = np.linalg.norm(kernel, 2)
    bound = induced_norm.riesz_thorin_bound(kernel, euclidean, 1.0 / p, 1.0 / q)
    expected = norm_of_the_kernel(p, q)
    if q < p:
        assert bound == math.inf
    else:
        assert bound >= expected * (1.0 - 1e-9)
    if (p == 1.0 or q == math.inf) and p <= q:
        # The pair lies on the edge, where the bound is exact.
        assert bound == pytest.approx(expected, rel=1e-9)


def test_the_bound_of_a_convolution_on_its_grid(matrix_of):
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 2))
    matrix = matrix_of(Convolution(tf.constant(kernel)), (4, 3, 2))
    euclidean = np.linalg.norm(matrix, 2)
    for p in (1.0, 1.5, 4.0, math.inf):
        bound = induced_norm.riesz_thorin_bound(kernel, euclidean, 1.0 / p, 1.0 / p)
        operator = Convolution(tf.constant(kernel))
        found = induced_norm.InducedNorm(1.0 / p, 1.0 / p)
        start = tf.ones([1, 4, 3, 2], tf.float64)
        sigma = float(found.leading_triple(operator, start, tolerance=1e-8).sigma)
        assert sigma <= bound * (1.0 + 1e-12)
        if p in (1.0, math.inf):
            assert bound == pytest.approx(np.linalg.norm(matrix, p), rel=1e-9)
            assert sigma == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize("p, q", [(1.7, 2.6), (3.0, 3.0), (2.5, 1.4)])
def test_the_norm_s_gradient_in_the_exponents_is_its_slope(kernel, p, q):
    operator = Dense(tf.constant(kernel))

    def leading(p, q):
        found = induced_norm.InducedNorm(1.0 / p, 1.0 / q)
        return found.leading_triple(operator, tf.ones([1, 5], tf.float64), tolerance=1e-12)

    triple, exponents = leading(p, q), tf.constant([1.0 / p, 1.0 / q], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(exponents)
        found = induced_norm.InducedNorm(exponents[0], exponents[1])
        sigma = found.of(operator, triple.u, triple.v)
    step, slopes = 1e-5, []
    for shift in ([step, 0.0], [0.0, step]):
        above, below = (
            float(leading(1.0 / (1.0 / p + s * shift[0]), 1.0 / (1.0 / q + s * shift[1])).sigma)
            for s in (1.0, -1.0)
        )
        slopes.append((above - below) / (2.0 * step))
    np.testing.assert_allclose(tape.gradient(sigma, exponents), slopes, rtol=1e-4)


# Layers


def contraction(kind, p, **options):
    options = {"p": p, "coeff": 0.8, "dtype": "float64", **options}
    if kind == "dense":
        g = layers.Contraction.mlp((6, 5), **options)
        g.build((None, 4))
    else:
        g = layers.Contraction.conv(3, (3, 1, 3), **options)
        g.build((None, 4, 3, 2))
    random = np.random.default_rng(0)
    for layer in layers.spectral_layers(g):
        layer.kernel.assign(2.0 * random.standard_normal(layer.kernel.shape))
    layers.refresh(g, 1e-9)
    return g


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize(
    "p", [1, 1.5, 3.0, math.inf, (1.5, 3.0, 2.0), "learned"], ids=lambda p: str(p)
)
def test_a_contraction_contracts_in_its_norm(kind, p):
    g = contraction(kind, p)
    linear = layers.spectral_layers(g)
    exponent = 1.0 / (2.0 if p == "learned" else p[-1] if isinstance(p, tuple) else p)
    assert float(g.output_exponent.reciprocal()) == pytest.approx(exponent)
    # A layer's input has the norm of the previous output; the first one's, that of the last output.
    for before, layer in zip([linear[-1], *linear], linear):
        assert layer.input_exponent == before.output_exponent
        assert float(layer.spectral_norm()) > layer.coeff
    shape = (2000, 4) if kind == "dense" else (2000, 4, 3, 2)
    x, y = (np.random.default_rng(s).standard_normal(shape) for s in (1, 2))
    p_norm = induced_norm.vector_norm
    apart = p_norm(tf.constant(g(x) - g(y)), exponent) / p_norm(tf.constant(x - y), exponent)
    assert float(tf.reduce_max(apart)) <= 0.8**3 * 1.001
    if p in (1, math.inf):
        assert g.lipschitz_bound() == pytest.approx(0.8**3, rel=1e-6)
    elif isinstance(p, tuple):
        assert g.lipschitz_bound() == math.inf


@pytest.mark.parametrize("p", [1, 3.0])
def test_the_inverse_s_error_bound_holds_in_the_2_norm(p):
    block = layers.ResidualBlock(contraction("dense", p, coeff=0.4))
    assert block.lipschitz_bound() < 1.0
    x = 5.0 * np.random.default_rng(0).standard_normal((64, 4))
    y = block(x)
    for iterations in (2, 4, 8):
        block.solver = type(block.solver)(1e-14, iterations)
        found = block.inverse(y)
        error = np.linalg.norm(found.x - x, axis=1)
        assert np.all(error <= found.error_bound.numpy())
    slope = np.linalg.norm(x[1:] - x[:-1], axis=1) / np.linalg.norm(y[1:] - y[:-1], axis=1)
    assert slope.max() <= block.inverse_lipschitz_bound()


@pytest.mark.parametrize(
    "p, jit_compile", [("learned", "auto"), (1.5, False), ((math.inf, 2, 2), False)], ids=str
)
def test_layers_stay_bound_through_training_and_a_file(p, jit_compile, tmp_path):
    """Stock Keras has XLA compile the steps."""
    g = layers.Contraction.mlp((8, 8), p=p, coeff=0.9)
    model = keras.Sequential([keras.Input((3,)), layers.ResidualBlock(g)])
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit_compile)
    x = np.random.default_rng(0).normal(size=(1200, 3)).astype(np.float32)
    model.fit(x, -3.0 * x[:, ::-1], batch_size=8, epochs=2, verbose=0)
    layers.refresh(model)
    for layer in layers.spectral_layers(model):
        exponents = layer.input_exponent, layer.output_exponent
        domain, codomain = (float(exponent.reciprocal()) for exponent in exponents)
        constrained = layer.constrained_kernel().numpy().astype(np.float64)
        norm_pq = (1e9 if r == 0.0 else 1.0 / r for r in (domain, codomain))
        norm_pq = (math.inf if each == 1e9 else each for each in norm_pq)
        found = largest_ratio_of_layer(constrained, *norm_pq)
        assert found <= layer.coeff * 1.005
        if p == "learned":
            assert codomain != 0.5
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert [each.p for each in layers.spectral_layers(loaded)] == [
        each.p for each in layers.spectral_layers(model)
    ]


def largest_ratio_of_layer(kernel, p, q):
    """The reference is power iteration from a thousand starts; the layer takes nine."""
    v = tf.random.stateless_normal([1000, kernel.shape[0]], [7, 8], dtype=tf.float64)
    found = induced_norm.InducedNorm(1.0 / p, 1.0 / q)
    return float(found.leading_triple(Dense(tf.constant(kernel)), v, tolerance=1e-7).sigma)


def test_layers_that_contract_in_the_2_norm_alone_are_refused():
    with pytest.raises(ValueError, match="2-norm alone"):
        layers.Contraction.mlp((4,), activation="clipswish", p=3.0).build((None, 4))


@pytest.mark.parametrize("p", [0.5, "most", None, -1])
def test_exponents_out_of_range(p):
    with pytest.raises(ValueError, match="from 1 to infinity"):
        layers.SpectralDense(4, p=p)


def test_one_exponent_or_one_a_layer():
    with pytest.raises(ValueError, match="3 layers"):
        layers.Contraction.mlp((4, 4), p=(2, 3))
