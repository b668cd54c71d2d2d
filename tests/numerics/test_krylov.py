"""Tests the quadrature in a Krylov space against dense linear algebra in float64."""

import math
import os

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from log_det_examples import KINDS, basis, gradient, true_gradient, true_log_det

from iresnet_tf.numerics.log_det import MARGIN, Exact, Krylov, truncation_bound
from iresnet_tf.numerics.maps import Linearization

CASES = int(os.environ.get("KRYLOV_CASES", "1000"))


def linearized(matrices):
    """Returns the linearization of ``x ↦ J x`` with one ``J``, or one for each sample."""
    matrices = tf.constant(np.reshape(matrices, [-1, *np.shape(matrices)[-2:]]))

    def vjp(w):
        return tf.linalg.matvec(matrices, w, transpose_a=True)

    zeros = tf.zeros(matrices.shape[:2], matrices.dtype)
    return Linearization(zeros, lambda v: tf.linalg.matvec(matrices, v), lambda dtype: vjp)


def logarithm(matrix):
    return scipy.linalg.logm(np.eye(len(matrix)) + matrix).real


def of_norm(matrix, norm):
    size = np.linalg.norm(matrix, 2)
    return norm * matrix / size if size else matrix


def jordan(size, eigenvalue):
    return eigenvalue * np.eye(size) + 0.3 * np.eye(size, k=1)


_RANDOM = np.random.default_rng(0).standard_normal((7, 7))
MATRICES = {
    "random": of_norm(_RANDOM, 0.9),
    "symmetric": of_norm(_RANDOM + _RANDOM.T, 0.98),
    "skew": of_norm(_RANDOM - _RANDOM.T, 0.95),
    "defective": jordan(7, -0.6),
    "nilpotent": 0.9 * np.eye(7, k=1),
    "zero": np.zeros((7, 7)),
    "identity": -0.9 * np.eye(7),
    "rank one": np.outer(_RANDOM[0], _RANDOM[1]) / 30.0,
    "rank two": of_norm(_RANDOM[:, :2] @ _RANDOM[:2], 0.9),
    "block": scipy.linalg.block_diag(jordan(3, 0.5), -0.9 * np.eye(2), np.zeros((2, 2))),
    "near one": of_norm(_RANDOM, 0.995),
}


@pytest.mark.parametrize("name", MATRICES)
def test_as_many_products_as_dimensions_are_exact_for_each_probe(name):
    matrix = MATRICES[name]
    probes = np.random.default_rng(1).choice([-1.0, 1.0], (4, 7))
    value, bound = Krylov(7, distribution=probes).value_and_bound(linearized(matrix), 0, 0.9951)
    expected = np.mean([v @ logarithm(matrix) @ v for v in probes])
    np.testing.assert_allclose(value, [expected], atol=1e-10)
    assert bound[0] <= 1e-8
    unit = Krylov(7, distribution=np.eye(7))(linearized(matrix), 0)
    np.testing.assert_allclose(unit, [np.linalg.slogdet(np.eye(7) + matrix)[1]], atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_products_as_dimensions_are_the_exact_estimator(
    contraction, batch_for, jacobian_of, kind
):
    g, x = contraction(kind), batch_for(kind, 2)
    krylov = Krylov(len(basis(kind)), distribution=basis(kind))
    value = krylov(g.bind().linearize(x), 0, g.lipschitz_target())
    np.testing.assert_allclose(value, true_log_det(jacobian_of, g, x), atol=1e-8)
    for ours, true in zip(gradient(krylov, g, x), true_gradient(jacobian_of, g, x), strict=True):
        np.testing.assert_allclose(ours, true, atol=1e-8)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("products", [1, 2, 4])
def test_the_left_factor_follows_from_the_least_residual_of_the_space(name, products):
    """``w = v − Jᵀ u``, where dense least squares over the powers of Jᵀ find ``u``."""
    matrix = MATRICES[name]
    v = np.random.default_rng(2).standard_normal(7)
    estimator = Krylov(products, distribution=v[np.newaxis])
    _, (_, w) = estimator.value_and_residuals(linearized(matrix), tf.constant([0, 0]))
    w = w[0, 0].numpy() * (v @ v) / 7.0  # the probe's weight is D / ‖v‖²
    shifted = np.eye(7) + matrix.T
    space = np.stack([np.linalg.matrix_power(matrix.T, k) @ v for k in range(products)], 1)
    space = scipy.linalg.orth(space)
    best = space @ np.linalg.lstsq(shifted @ space, v, rcond=None)[0]
    np.testing.assert_allclose(w, v - matrix.T @ best, atol=1e-8)
    least = np.linalg.norm(v - shifted @ best)
    assert np.linalg.norm(v - shifted @ w) <= 0.995 * least + 1e-8


@pytest.mark.parametrize("lipschitz", [0.1, 0.5, 0.9, 0.98, 0.995])
@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_the_bound_is_never_below_the_error(size, lipschitz):
    generator, count = np.random.default_rng(size), CASES // (20 * size)
    matrices = generator.standard_normal((count, size, size))
    symmetry = generator.choice([-1.0, 0.0, 1.0], (count, 1, 1))
    matrices = matrices + symmetry * matrices.swapaxes(1, 2)
    matrices = np.stack([of_norm(matrix, lipschitz) for matrix in matrices])
    logarithms = np.stack([logarithm(matrix) for matrix in matrices])
    rounding = 1e-12 * size / (1.0 - lipschitz)
    for products in range(1, size + 1):
        v = generator.standard_normal(size)
        # The norm was computed to a relative rounding of less than 1e-12.
        norm = lipschitz * (1.0 + 1e-12)
        estimator = Krylov(products, lipschitz=norm, distribution=v[np.newaxis])
        value, bound = estimator.value_and_bound(linearized(matrices), 0, norm)
        error = np.abs(value - size / (v @ v) * np.einsum("i,bij,j->b", v, logarithms, v))
        assert np.all(error <= bound + rounding)
        assert np.all(error <= size * estimator.truncation_bound(norm) + rounding)


def test_automatic_products_are_the_fewest_whose_bound_suffices(contraction, batch_for):
    g, x = contraction("conv"), batch_for("conv", 4)
    linearization, lipschitz = g.bind().linearize(x), g.lipschitz_target()
    automatic = Krylov("auto", truncation=1e-4).for_target(lipschitz)
    assert automatic.truncation_bound(lipschitz) == 1e-4
    value = automatic(linearization, 3, lipschitz)
    bounds = [Krylov(n).value_and_bound(linearization, 3, MARGIN * lipschitz) for n in range(1, 25)]
    enough = [i for i, (_, bound) in enumerate(bounds) if max(bound) <= 24 * 1e-4]
    np.testing.assert_allclose(value, bounds[enough[0]][0], atol=1e-12)
    assert enough[0] > 0


def test_the_bound_of_automatic_products_grows_with_the_constant():
    block = Krylov("auto", truncation=1e-3).for_target(0.5)
    assert block.truncation_bound(0.502) == 1e-3
    assert block.truncation_bound(0.9) == pytest.approx(1e-3 * (1 - 0.502) / 0.1)
    assert block.truncation_bound(1.0) == math.inf
    assert Krylov("auto").truncation_bound(0.5) == 2.0 * truncation_bound(0.5, 1)


@pytest.mark.parametrize("products", [3, 7])
def test_a_tolerance_ends_the_products_early(products):
    matrix = MATRICES["symmetric"]
    v = np.random.default_rng(4).choice([-1.0, 1.0], (1, 7))
    taken = Krylov(products, tolerance=1e-2, distribution=v)
    _, (_, w) = taken.value_and_residuals(linearized(matrix), tf.constant([0, 0]))
    residual = np.linalg.norm(v[0] - (np.eye(7) + matrix.T) @ w[0, 0].numpy()) / np.sqrt(7.0)
    fixed = [
        Krylov(n, distribution=v).value_and_residuals(linearized(matrix), tf.constant([0, 0]))
        for n in range(1, products + 1)
    ]
    assert any(np.allclose(w, other, atol=1e-12) for _, (_, other) in fixed)
    assert residual <= 1e-2 or np.allclose(w, fixed[-1][1][1], atol=1e-12)


@pytest.mark.parametrize("options", [{"products": 3}, {"products": 9, "tolerance": 1e-3}])
def test_traced_with_an_unknown_batch_it_is_the_same(contraction, batch_for, options):
    g, x = contraction("conv"), batch_for("conv", 3)
    estimator = Krylov(probes=2, **options)
    traced = tf.function(
        lambda x: estimator(g.bind().linearize(x), 5, 0.7),
        input_signature=[tf.TensorSpec([None, *x.shape[1:]], x.dtype)],
    )
    np.testing.assert_allclose(traced(x), estimator(g.bind().linearize(x), 5, 0.7), atol=1e-12)


def test_four_products_are_closer_than_a_series_of_ten(contraction, batch_for, jacobian_of):
    """In the mean over probes, for a contraction with a constant of 0.95."""
    g, x = contraction("dense", coeff=0.98), batch_for("dense", 3)
    value = Krylov(4, distribution=basis("dense"))(g.bind().linearize(x), 0)
    truth = true_log_det(jacobian_of, g, x)
    assert np.max(np.abs(value - truth)) < 1e-3
    np.testing.assert_allclose(Exact()(g.bind().linearize(x)), truth, atol=1e-9)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: Krylov(0), "products is an integer of at least 1; received 0"),
        (lambda: Krylov(2.5), "products.*2.5"),
        (lambda: Krylov(4, tolerance=0.0), "tolerance is a positive.*0.0"),
        (lambda: Krylov("auto", truncation=-1.0), "truncation is a positive.*-1.0"),
        (lambda: Krylov("auto", lipschitz=1.0), "between 0 and 1.*1.0"),
        (lambda: Krylov("auto", tolerance=0.1), "follows truncation.*0.1"),
        (lambda: Krylov(3).value_and_bound(linearized(np.eye(2)), 0, 1.0), "below 1.*1.0"),
        (lambda: Krylov("auto")(linearized(np.eye(2)), 0, None), "Give a number of products"),
        (
            lambda: Krylov("auto")(linearized(np.eye(2)), 0, 1.0),
            "another p-norm.*products",
        ),
        (lambda: Krylov("Auto"), 'an integer or "auto"; received .Auto.'),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_xla_compiles_a_fixed_number_of_products_only(contraction, batch_for):
    g, x = contraction("dense"), batch_for("dense", 3)

    def compiled(estimator):
        return tf.function(lambda x: estimator(g.bind().linearize(x), 5, 0.7), jit_compile=True)(x)

    np.testing.assert_allclose(
        compiled(Krylov(3)), Krylov(3)(g.bind().linearize(x), 5, 0.7), atol=1e-12
    )
    with pytest.raises(ValueError, match="XLA cannot compile.*depends on the data"):
        compiled(Krylov(3, tolerance=0.1))


@pytest.mark.parametrize("part, rest", [(-0.97, 0.03), (-0.97, 0.01), (-0.9, 0.1)])
def test_rounding_does_not_grow_near_a_multiple_of_the_identity(part, rest):
    """There the images of a step differ from the vectors before by little."""
    generator = np.random.default_rng(5)
    noise = of_norm((lambda m: m + m.T)(generator.standard_normal((64, 64))), 1.0)
    matrix = part * np.eye(64) + rest * 0.6 * noise
    v = generator.choice([-1.0, 1.0], (1, 64))
    value = Krylov(4, distribution=v)(linearized(matrix.astype(np.float32)), 0, 0.99)
    truth = Krylov(4, distribution=v)(linearized(matrix), 0, 0.99)
    # The logarithm multiplies the rounding of J, of 64 products of ε each, by at most 1 / (1 − L).
    assert abs(float(value[0]) - float(truth[0])) <= 64.0 * 64.0 * 1.2e-7 * 100.0 / 8.0


@pytest.mark.parametrize(
    "matrix",
    [-3.0 * np.eye(7), -1.02 * np.eye(7), 4.0 * _RANDOM / 7.0, jordan(7, -1.5)],
    ids=["negative", "hardly", "random", "defective"],
)
def test_what_is_no_contraction_has_its_log_determinant_and_no_bound(matrix):
    """Training meets such maps for some steps; the other samples keep their values."""
    both = np.stack([matrix, MATRICES["random"]])
    krylov = Krylov(7, distribution=np.eye(7))
    value = tf.function(lambda: krylov(linearized(both), 0, 0.9))()
    expected = np.linalg.slogdet(np.eye(7) + both)[1]
    np.testing.assert_allclose(value[1], expected[1], atol=1e-10)
    np.testing.assert_allclose(value[0], expected[0], atol=0.02)
    bound = krylov.value_and_bound(linearized(both), 0, 0.9)[1]
    assert np.isinf(bound[0]) and bound[1] < 1e-6


def test_the_bound_is_infinite_beyond_the_constant_of_the_integrals():
    assert Krylov(5).truncation_bound(0.995) == math.inf
    assert Krylov(5, lipschitz=0.996).truncation_bound(0.995) < math.inf
    assert Krylov("auto").for_target(0.5).truncation_bound(0.995) == math.inf
    assert Krylov("auto").for_target(0.998).truncation_bound(0.9985) < math.inf
