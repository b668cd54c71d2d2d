"""The estimators of the log-determinant against the Jacobian by differentiation, in float64."""

import math
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers
from iresnet_tf.numerics.log_det import (
    Exact,
    LogDet,
    PowerSeries,
    RussianRoulette,
    get,
    truncation_bound,
)

KINDS = ["dense", "conv"]
ACTIVATIONS = ["relu", "elu", "softplus", "sigmoid", "tanh", "lipswish", "clipswish", "maxmin"]
DRAWS = 20_000


def weights_of(g):
    return [variable.value for variable in g.trainable_variables]


def true_log_det(jacobian_of, g, x):
    jacobian = jacobian_of(g, x)
    return tf.linalg.slogdet(tf.eye(jacobian.shape[-1], dtype=x.dtype) + jacobian)[1]


def true_gradient(jacobian_of, g, x):
    """Returns the gradient of the sum over the batch, differentiated through the Jacobian."""
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(true_log_det(jacobian_of, g, x))
    return tape.gradient(total, weights_of(g), unconnected_gradients="zero")


def gradient(estimator, g, x, seed=0, lipschitz=None, sample=None):
    with tf.GradientTape() as tape:
        log_det = estimator(g.bind().linearize(x), seed, lipschitz)
        total = tf.reduce_sum(log_det) if sample is None else log_det[sample]
    return tape.gradient(total, weights_of(g), unconnected_gradients="zero")


def basis(kind):
    size = {"dense": 6, "conv": 24}[kind]
    return np.eye(size)


def by_power_series(jacobian, v, terms):
    """Returns ``Σ (−1)^{k+1}/k vᵀ Jᵏ v`` with the Jacobian as a matrix."""
    total, power = 0.0, v
    for k in range(1, terms + 1):
        power = jacobian @ power
        total += (-1) ** (k + 1) / k * v @ power
    return total


# Values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_exact_is_the_log_determinant(contraction, batch_for, jacobian_of, kind, activation):
    g, x = contraction(kind, activation), batch_for(kind, 3)
    estimate = Exact()(g.bind().linearize(x))
    assert estimate.shape == (3,)
    np.testing.assert_allclose(estimate, true_log_det(jacobian_of, g, x), atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_exact_in_one_two_and_three_dimensions(jacobian_of, size):
    g = layers.Contraction.mlp((5,), "tanh", dtype="float64")
    x = tf.constant(np.random.default_rng(0).standard_normal((4, size)))
    g.build(x.shape)
    estimate = Exact()(g.bind().linearize(x))
    np.testing.assert_allclose(estimate, true_log_det(jacobian_of, g, x), atol=1e-12)


def test_exact_of_a_map_without_activation_is_the_same_for_every_sample():
    layer = layers.SpectralDense(4, dtype="float64")
    layer.build((None, 4))
    matrix = np.eye(4) + layer.constrained_kernel().numpy()
    estimate = Exact()(layer.bind().linearize(tf.ones([3, 4], tf.float64)))
    np.testing.assert_allclose(estimate, [math.log(np.linalg.det(matrix))] * 3, atol=1e-12)


def test_exact_by_automatic_differentiation(jacobian_of):
    dense = keras.layers.Dense(4, activation="tanh", dtype="float64")
    dense.build((None, 4))
    dense.kernel.assign(0.3 * dense.kernel.value)
    g = layers.Contraction([dense], lipschitz=0.9, dtype="float64")
    x = tf.constant(np.random.default_rng(0).standard_normal((3, 4)))
    g.build(x.shape)
    estimate = Exact()(g.bind().linearize(x))
    np.testing.assert_allclose(estimate, true_log_det(jacobian_of, g, x), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["elu", "lipswish", "clipswish"])
def test_long_series_over_a_basis_is_the_log_determinant(
    contraction, batch_for, jacobian_of, kind, activation
):
    g, x = contraction(kind, activation), batch_for(kind, 3)
    estimate = PowerSeries(60, distribution=basis(kind))(g.bind().linearize(x), 0)
    np.testing.assert_allclose(estimate, true_log_det(jacobian_of, g, x), atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("terms", [1, 2, 5])
def test_value_is_the_series_and_not_the_surrogate(
    contraction, batch_for, jacobian_of, kind, terms
):
    g, x = contraction(kind, coeff=0.98), batch_for(kind, 2)
    jacobian = jacobian_of(g, x).numpy()
    probe = np.random.default_rng(3).choice([-1.0, 1.0], basis(kind).shape[:1])
    estimate = PowerSeries(terms, distribution=probe[np.newaxis])(g.bind().linearize(x), 0)
    expected = [by_power_series(each, probe, terms) for each in jacobian]
    np.testing.assert_allclose(estimate, expected, atol=1e-12)


def test_any_multiple_of_an_orthonormal_basis_gives_the_same_value(contraction, batch_for):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 2))
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    one = PowerSeries(5, distribution=np.eye(6))(linearization, 0)
    other = PowerSeries(5, distribution=3.0 * rotation)(linearization, 0)
    np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_mean_over_many_probes_is_the_trace(contraction, batch_for, jacobian_of, distribution):
    g, x = contraction("dense"), tf.repeat(batch_for("dense", 1), DRAWS, axis=0)
    draws = PowerSeries(4, distribution=distribution)(g.bind().linearize(x), 5).numpy()
    jacobian = jacobian_of(g, x[:1]).numpy()[0]
    expected = sum(by_power_series(jacobian, row, 4) for row in np.eye(6))
    assert abs(draws.mean() - expected) <= 4 * draws.std() / math.sqrt(DRAWS)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_variance_falls_with_the_number_of_probes(contraction, batch_for, distribution):
    linearization = (
        contraction("dense").bind().linearize(tf.repeat(batch_for("dense", 1), 4000, axis=0))
    )
    one, eight = (
        PowerSeries(3, probes, distribution)(linearization, 1).numpy().var() for probes in (1, 8)
    )
    assert one / eight == pytest.approx(8.0, rel=0.2)


@pytest.mark.parametrize("estimator", [PowerSeries(3), PowerSeries(3, 2, "gaussian")])
def test_an_example_gets_the_same_probes_in_any_batch(contraction, batch_for, estimator):
    g, x = contraction("conv"), batch_for("conv", 17)
    whole = estimator(g.bind().linearize(x), 7)
    np.testing.assert_allclose(estimator(g.bind().linearize(x[:2]), 7), whole[:2], atol=1e-12)
    assert not np.allclose(whole, estimator(g.bind().linearize(x), 8))


@pytest.mark.parametrize(
    "estimator", [Exact(), PowerSeries(3), RussianRoulette()], ids=lambda each: type(each).__name__
)
def test_float32_agrees_with_float64(contraction, batch_for, estimator):
    wide = contraction("conv")
    narrow = contraction("conv", dtype="float32")
    narrow.set_weights(wide.get_weights())
    x = batch_for("conv", 3)
    expected = estimator(wide.bind().linearize(x), 3, 0.9)
    estimate = estimator(narrow.bind().linearize(tf.cast(x, tf.float32)), 3, 0.9)
    assert estimate.dtype == tf.float32
    np.testing.assert_allclose(estimate, expected, atol=2e-5)


# The mean over the roulette's draws, and the mean gradient


def draws_of(estimator, g, x, count, lipschitz=None):
    """Returns values ``[count, batch]`` and flat gradients of their sum, for as many seeds."""

    def draw(seed):
        weights = weights_of(g)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            log_det = estimator(g.bind().linearize(x), tf.stack([seed, 11]), lipschitz)
            total = tf.reduce_sum(log_det)
        gradients = tape.gradient(total, weights, unconnected_gradients="zero")
        return log_det, tf.concat([tf.reshape(each, [-1]) for each in gradients], 0)

    signature = (tf.float64, tf.float64)
    loop = tf.function(
        lambda: tf.map_fn(draw, tf.range(count), fn_output_signature=signature), autograph=False
    )
    return tuple(each.numpy() for each in loop())


def assert_mean(draws, expected):
    """Requires agreement within four standard errors, or to rounding if nothing varies."""
    error = draws.std(0, ddof=1) / math.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - expected) <= 4 * error + 1e-10).all()


@pytest.mark.parametrize(
    "kind,count,estimator",
    [
        ("dense", DRAWS, RussianRoulette()),
        ("dense", 5000, RussianRoulette(parameter=0.3, exact_terms=0, distribution="gaussian")),
        pytest.param(
            "conv", DRAWS, RussianRoulette(exact_terms=1, probes=2), marks=pytest.mark.slow
        ),
    ],
    ids=["geometric", "gaussian", "conv"],
)
def test_roulette_and_its_gradient_are_unbiased(
    contraction, batch_for, jacobian_of, kind, count, estimator
):
    g, x = contraction(kind, "lipswish", coeff=0.85), batch_for(kind, 2)
    values, gradients = draws_of(estimator, g, x, count, lipschitz=0.85**3)
    assert_mean(values, true_log_det(jacobian_of, g, x).numpy())
    exact = true_gradient(jacobian_of, g, x)
    assert_mean(gradients, np.concatenate([each.numpy().ravel() for each in exact]))


def test_poisson_roulette_is_unbiased_where_its_variance_is_small(
    contraction, batch_for, jacobian_of
):
    g, x = contraction("dense", coeff=0.4), batch_for("dense", 1)
    with pytest.warns(UserWarning, match="infinite variance"):
        estimator = RussianRoulette("poisson")
    values, _ = draws_of(estimator, g, x, 3000)
    assert_mean(values, true_log_det(jacobian_of, g, x).numpy())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 17])
def test_mean_neumann_gradient_is_the_gradient(contraction, batch_for, jacobian_of, kind, batch):
    g, x = contraction(kind, "elu", coeff=0.6), batch_for(kind, batch)
    _, gradients = draws_of(PowerSeries(12), g, x, 1000)
    exact = true_gradient(jacobian_of, g, x)
    assert_mean(gradients, np.concatenate([each.numpy().ravel() for each in exact]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 17])
@pytest.mark.parametrize("activation", ["elu", "clipswish"])
def test_gradient_over_a_basis_is_the_gradient(
    contraction, batch_for, jacobian_of, kind, batch, activation
):
    g, x = contraction(kind, activation), batch_for(kind, batch)
    exact = true_gradient(jacobian_of, g, x)
    for estimator in (Exact(), PowerSeries(120, distribution=basis(kind))):
        for one, other in zip(gradient(estimator, g, x), exact, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("estimator", [Exact(), PowerSeries(4), RussianRoulette()], ids=repr)
def test_a_sample_and_its_gradient_do_not_depend_on_the_others(contraction, batch_for, estimator):
    g, x = contraction("conv"), batch_for("conv", 17)
    others = tf.concat([x[:1], 5.0 * batch_for("conv", 16, seed=9)], 0)
    one, other = (estimator(g.bind().linearize(each), 3, 0.7)[0] for each in (x, others))
    np.testing.assert_allclose(one, other, atol=1e-12)
    gradients = (gradient(estimator, g, each, 3, 0.7, sample=0) for each in (x, others))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("estimator", [Exact(), PowerSeries(4), RussianRoulette()], ids=repr)
def test_same_value_and_gradient_inside_a_function(contraction, batch_for, estimator):
    g, x = contraction("dense"), batch_for("dense", 3)
    eager = gradient(estimator, g, x, 3, 0.7)
    traced = tf.function(lambda: gradient(estimator, g, x, 3, 0.7), autograph=False)()
    for one, other in zip(eager, traced, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


# Bounds


@pytest.mark.parametrize("lipschitz", [0.0, 0.1, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("terms", [1, 3, 10])
def test_truncation_bound_is_the_tail_of_the_logarithm(lipschitz, terms):
    tail = math.fsum(lipschitz**k / k for k in range(terms + 1, 100_000))
    assert truncation_bound(lipschitz, terms) == pytest.approx(tail, rel=1e-11, abs=1e-300)
    whole = -math.log1p(-lipschitz) - math.fsum(lipschitz**k / k for k in range(1, terms + 1))
    assert truncation_bound(lipschitz, terms) == pytest.approx(whole, rel=1e-9, abs=1e-15)
    assert PowerSeries(terms).truncation_bound(lipschitz) == truncation_bound(lipschitz, terms)


@pytest.mark.parametrize("lipschitz", [1.0, 1.5, math.inf, math.nan])
def test_truncation_bound_is_infinite_for_what_is_no_contraction(lipschitz):
    assert truncation_bound(lipschitz, 5) == math.inf
    assert PowerSeries(5).truncation_bound(lipschitz) == math.inf
    assert RussianRoulette().truncation_bound(lipschitz) == math.inf


def test_truncation_bound_close_to_one_is_found_at_once():
    lipschitz = 1 - 2**-40
    expected = 40 * math.log(2) - math.fsum(lipschitz**k / k for k in range(1, 11))
    assert truncation_bound(lipschitz, 10) == pytest.approx(expected, rel=1e-12)


def test_unbiased_estimators_have_no_truncation():
    assert Exact().truncation_bound(0.99) == RussianRoulette().truncation_bound(0.99) == 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("terms", [1, 2, 5, 10])
def test_truncation_bound_exceeds_the_bias(contraction, batch_for, kind, terms):
    g, x = contraction(kind, "relu", coeff=0.95), 3.0 * batch_for(kind, 8)
    linearization = g.bind().linearize(x)
    estimator = PowerSeries(terms, distribution=basis(kind))
    bias = np.abs(estimator(linearization, 0) - Exact()(linearization)).max()
    assert 0 < bias <= len(basis(kind)) * estimator.truncation_bound(g.lipschitz_bound())


def test_truncation_bound_is_attained_by_minus_the_identity():
    """``J = −L I`` has every term of the same sign."""
    g = layers.SpectralDense(3, coeff=0.8, dtype="float64")
    g.build((None, 3))
    g.kernel.assign(-np.eye(3))
    g.refresh(1e-12)
    linearization = g.bind().linearize(tf.zeros([1, 3], tf.float64))
    estimator = PowerSeries(4, distribution=np.eye(3))
    bias = float(estimator(linearization, 0)[0] - Exact()(linearization)[0])
    assert bias == pytest.approx(3 * estimator.truncation_bound(0.8), rel=1e-9)


# Laws of the roulette


def test_adaptive_survival_follows_the_lipschitz_constant():
    assert RussianRoulette().survival(0.729) == pytest.approx(0.9**4)
    assert RussianRoulette(parameter=0.2).survival() == pytest.approx(0.8)


def test_survival_below_the_square_of_the_constant_warns(contraction, batch_for):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 1))
    with pytest.warns(UserWarning, match="infinite variance.*0.81"):
        RussianRoulette(parameter=0.5)(linearization, 0, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RussianRoulette(parameter=0.1)(linearization, 0, 0.9)
        RussianRoulette()(linearization, 0, 0.9)


# Configurations and errors


def same(one, other):
    return type(one) is type(other) and one.get_config() == other.get_config()


@pytest.mark.filterwarnings("ignore:Russian roulette")
@pytest.mark.parametrize(
    "estimator",
    [
        Exact(),
        PowerSeries(7, 3, "gaussian"),
        PowerSeries(2, distribution=np.eye(3)),
        RussianRoulette(parameter=0.3, exact_terms=4, probes=2),
        RussianRoulette("poisson", 3.0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_configuration_round_trip(estimator):
    assert same(estimator, type(estimator).from_config(estimator.get_config()))
    config = keras.saving.serialize_keras_object(estimator)
    assert same(estimator, get(config))
    assert get(estimator) is estimator
    assert type(estimator).__name__ in repr(estimator)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: PowerSeries(0), "terms is an integer of at least 1; received 0"),
        (lambda: PowerSeries(2.5), "terms.*2.5"),
        (lambda: PowerSeries(True), "terms.*True"),
        (lambda: PowerSeries(3, probes=0), "probes is an integer of at least 1; received 0"),
        (lambda: PowerSeries(3, distribution="uniform"), "distribution is one of.*'uniform'"),
        (lambda: PowerSeries(3, distribution=np.ones(4)), r"\[probes, …event\].*\(4,\)"),
        (lambda: PowerSeries(3, distribution=[[np.nan]]), "finite"),
        (lambda: PowerSeries(3, distribution=np.zeros((2, 3))), "not all zero"),
        (lambda: RussianRoulette("uniform"), "law is one of.*'uniform'"),
        (lambda: RussianRoulette(parameter=0.0), "between 0 and 1.*0.0"),
        (lambda: RussianRoulette(parameter=1.0), "between 0 and 1.*1.0"),
        (lambda: RussianRoulette("poisson", -1.0), "positive mean.*-1.0"),
        (lambda: RussianRoulette(exact_terms=-1), "exact_terms.*-1"),
        (lambda: RussianRoulette(exact_terms=1.5), "exact_terms.*1.5"),
        (lambda: RussianRoulette(probes=0), "probes"),
        (lambda: get("exact"), "log_det is an estimator.*'exact'"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("lipschitz", [None, 1.0, 2.0])
def test_adaptive_roulette_needs_a_constant_below_one(contraction, batch_for, lipschitz):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 1))
    with pytest.raises(ValueError, match="must be known and below 1.*parameter"):
        RussianRoulette()(linearization, 0, lipschitz)


def test_probes_of_another_size_are_refused(contraction, batch_for):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 1))
    with pytest.raises(ValueError, match="5 elements each and the samples 6"):
        PowerSeries(2, distribution=np.ones((2, 5)))(linearization, 0)


@pytest.mark.parametrize("seed", [1.5, [1, 2, 3], [0.5, 0.5]])
def test_what_is_no_seed_is_refused(contraction, batch_for, seed):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 1))
    with pytest.raises(ValueError, match="seed is an integer or a pair"):
        PowerSeries(2)(linearization, seed)


def test_base_estimator_is_abstract():
    with pytest.raises(TypeError, match="__call__.*truncation_bound"):
        LogDet()


# Automatic terms


@pytest.mark.parametrize("lipschitz", [0.01, 0.5, 0.729, 0.97])
@pytest.mark.parametrize("truncation", [0.1, 0.001])
def test_automatic_terms_are_the_fewest_within_the_bound(lipschitz, truncation):
    series = PowerSeries("auto", truncation=truncation)
    terms = series.number_of_terms(lipschitz)
    at_most = PowerSeries.MARGIN * lipschitz
    tail = -math.log1p(-at_most) - sum(at_most**k / k for k in range(1, terms + 1))
    assert tail <= truncation
    if terms > 1:
        assert tail + at_most**terms / terms > truncation
    # The bound holds for the terms that a block takes, if g exceeds its target by the margin.
    for certified in (0.9 * lipschitz, lipschitz, at_most):
        assert truncation_bound(certified, terms) <= series.truncation_bound(certified) * (1 + 1e-9)
        assert series.truncation_bound(certified) <= truncation


def test_automatic_terms_estimate_what_as_many_terms_do(contraction, batch_for):
    g, x = contraction("dense"), batch_for("dense", 3)
    automatic = PowerSeries("auto", truncation=0.01)
    lipschitz = g.lipschitz_target()
    plain = PowerSeries(automatic.number_of_terms(lipschitz))
    linearization = g.bind().linearize(x)
    np.testing.assert_array_equal(automatic(linearization, 5, lipschitz), plain(linearization, 5))
    assert get(keras.saving.serialize_keras_object(automatic)) == automatic


@pytest.mark.parametrize("lipschitz", [None, 1.0, 0.999])
def test_automatic_terms_need_a_constant_below_one(contraction, batch_for, lipschitz):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 2))
    with pytest.raises(ValueError, match="Give a number of terms"):
        PowerSeries("auto")(linearization, 0, lipschitz)


def test_the_graph_of_a_series_is_the_same_for_any_number_of_terms(contraction, batch_for):
    """So the time of tracing and the memory do not depend on the number either."""
    g, x = contraction("conv"), batch_for("conv", 2)

    def operations(terms):
        @tf.function
        def log_det(x):
            return PowerSeries(terms)(g.bind().linearize(x), 0)

        return len(log_det.get_concrete_function(x).graph.get_operations())

    assert operations(2) == operations(50)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["elu", "clipswish", "maxmin"])
@pytest.mark.parametrize("make", [PowerSeries, lambda n, **k: RussianRoulette(exact_terms=n, **k)])
def test_a_series_in_bfloat16_is_off_by_its_rounding(
    contraction, batch_for, kind, activation, make
):
    """Each of the m operations of a term rounds by at most 2⁻⁸, and L < 1."""
    g, x = contraction(kind, activation), batch_for(kind, 5)
    lipschitz, terms = g.lipschitz_target(), 4
    wide, low = (
        make(terms, series_dtype=dtype)(g.bind().linearize(x), 3, lipschitz).numpy()
        for dtype in (None, "bfloat16")
    )
    operations, dimension = 2 * len(g.parts), math.prod(x.shape[1:])
    # |⟨v, δ(Jᵏ) v⟩| / k ≤ (k · operations · 2⁻⁸) Lᵏ ‖v‖² / k, and ‖v‖² = D for ±1 probes.
    bound = 2.0**-8 * operations * dimension * sum(lipschitz**k for k in range(1, 100))
    assert 0.0 < np.max(np.abs(wide - low)) < bound


def test_other_precisions_of_a_series_are_refused():
    with pytest.raises(ValueError, match="series_dtype .* received 'float16'"):
        PowerSeries(5, series_dtype="float16")
