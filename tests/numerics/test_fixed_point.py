"""Solvers against inverses in float64, and implicit gradients against explicit ones."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers
from iresnet_tf.numerics import solvers
from iresnet_tf.numerics.maps import Affine
from iresnet_tf.numerics.maps.operators import Dense
from iresnet_tf.numerics.solvers import Anderson, Picard, Solver

SOLVERS = [Picard, Anderson]
SHAPES = [(2,), (8,), (64,), (6, 6, 4)]
ACTIVATIONS = ["relu", "elu", "lipswish"]
PRECISIONS = [("float32", 1e-6), ("float64", 1e-10)]


def normal(*shape, seed=0, dtype=tf.float32):
    return tf.cast(np.random.default_rng(seed).standard_normal(shape), dtype)


@functools.cache
def random_contraction(shape, activation="elu", coeff=0.9, bias=1.0, seed=0, dtype="float32"):
    """Returns a contraction with active constraints and ``Lip(g)`` well below ``coeff³``."""
    options = {"activation": activation, "coeff": coeff, "dtype": dtype}
    if len(shape) == 1:
        g = layers.Contraction.mlp((32, 32), **options)
    else:
        g = layers.Contraction.conv(8, (3, 1, 3), **options)
    g.build((None, *shape))
    random = np.random.default_rng(seed)
    for layer in layers.spectral_layers(g):
        layer.kernel.assign(random.standard_normal(layer.kernel.shape))
        layer.bias.assign(bias * random.standard_normal(layer.bias.shape))
    layers.refresh(g, 1e-6)
    return g


def aligned_contraction(activation, coeff, size=8, width=32, dtype="float64"):
    """Returns a contraction with aligned singular vectors: ``J`` has an eigenvalue of coeff³."""
    g = layers.Contraction.mlp((width, width), activation=activation, coeff=coeff, dtype=dtype)
    g.build((None, size))
    random = np.random.default_rng(0)
    first = random.standard_normal(size)
    right = first = first / np.linalg.norm(first)
    for layer in layers.spectral_layers(g):
        rows, columns = layer.kernel.shape
        # Hidden vectors are positive, where relu and elu have slope one.
        left = first if columns == size else np.abs(random.standard_normal(columns))
        left = left / np.linalg.norm(left)
        rest = random.standard_normal((rows, columns)) / (np.sqrt(rows) + np.sqrt(columns))
        rest -= np.outer(right, right @ rest)
        rest -= np.outer(rest @ left, left)
        layer.kernel.assign(3.0 * np.outer(right, left) + rest)
        right = left
    layers.refresh(g, 1e-9)
    return g


def preimage(block, y):
    """Returns the true inverse, from a float64 copy of the block that is solved to rounding."""
    block._prepare(y)
    config = block.get_config()
    wide = layers.ResidualBlock.from_config(as_float64(config))
    wide.build((None, *y.shape[1:]))
    wide.set_weights(block.get_weights())
    solver = Anderson(tolerance=1e-13, max_iterations=5000)
    g = wide.g.bind()
    found = solve(solver, g, tf.cast(y, tf.float64))
    gap = 1 - wide.lipschitz_bound()
    assert float(tf.reduce_max(found.residual)) / gap < 1e-9
    return found.x


def as_float64(config):
    """Returns the configuration with every float32 policy replaced."""
    if isinstance(config, dict):
        return {key: as_float64(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(as_float64(each) for each in config)
    return "float64" if config == "float32" else config


def solve(solver, g, y):
    """Returns the solver's result from a compiled function, because an eager loop is slow."""
    return tf.function(lambda y: solver(g, y), autograph=False)(y)


def norms(x):
    return np.linalg.norm(x.numpy().reshape(len(x), -1), axis=1)


# Accuracy and its report


@pytest.mark.parametrize(
    "shape,coeff", [((2,), 0.98), ((8,), 0.9), ((64,), 0.98), ((6, 6, 4), 0.9)]
)
@pytest.mark.parametrize("bias", [1.0, 100.0])
def test_float32_inverse_is_accurate_or_says_that_it_is_not(coeff, shape, bias):
    block = layers.ResidualBlock(random_contraction(shape, coeff=coeff, bias=bias))
    y = normal(16, *shape, seed=1)
    truth = preimage(block, y)
    for solver in (Picard(tolerance=1e-6), Anderson(tolerance=1e-6)):
        block.solver = solver
        result = block.inverse(y)
        again = tf.reduce_max(tf.abs(block(result.x) - y), list(range(1, y.shape.rank)))
        assert ((again <= 1e-6) | ~result.converged).numpy().all()
        # With biases of 100 the values of g are rounded by more than the tolerance.
        assert result.converged.numpy().all() == (bias == 1.0)
        np.testing.assert_allclose(
            result.residual, norms(block(result.x) - y), rtol=1e-3, atol=1e-6 * bias
        )
        error = norms(tf.cast(result.x, tf.float64) - truth)
        assert (error <= result.error_bound.numpy()).all()
        assert np.isfinite(result.error_bound.numpy()).all()


@pytest.mark.parametrize("activation", ["relu", "elu", "softplus", "tanh", "lipswish", "clipswish"])
def test_error_bound_holds_at_every_scale_of_the_data(activation):
    g = random_contraction((8,), activation, coeff=0.98, bias=0.0)
    scale = tf.repeat(tf.constant([[1e-4], [1.0], [1e4]]), 32, axis=0)
    block, y = layers.ResidualBlock(g), scale * normal(96, 8, seed=1)
    truth = preimage(block, y)
    for solver in (Picard(tolerance=1e-12), Anderson(tolerance=1e-12)):
        block.solver = solver
        result = block.inverse(y)
        error = norms(tf.cast(result.x, tf.float64) - truth)
        assert (error <= result.error_bound.numpy()).all()


def test_error_bound_holds_where_the_block_is_nearly_singular():
    block = layers.ResidualBlock(aligned_contraction("elu", 0.98, dtype="float32"))
    y = normal(16, 8, seed=1)
    truth = preimage(block, y)
    for solver in (Picard(), Anderson()):
        block.solver = solver
        result = block.inverse(y)
        error = norms(tf.cast(result.x, tf.float64) - truth)
        assert (error <= result.error_bound.numpy()).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_inverse_of_a_linear_block_is_that_of_its_matrix(solver):
    g = layers.Contraction([layers.SpectralDense(dtype="float64")], dtype="float64")
    g.build((None, 5))
    y = normal(4, 5, dtype=tf.float64)
    kernel = g.parts[0].constrained_kernel().numpy()
    expected = np.linalg.solve((np.eye(5) + kernel).T, y.numpy().T).T
    found = solver(tolerance=1e-12)(g.bind(), y)
    np.testing.assert_allclose(found.x, expected, atol=1e-11)


# Number of evaluations


@pytest.mark.parametrize(
    "activation,coeff",
    [("linear", 0.97), ("linear", 0.995), ("elu", 0.97), ("elu", 0.98), ("tanh", 0.98)],
)
def test_anderson_takes_at_most_half_where_picard_is_slow(activation, coeff):
    g = aligned_contraction(activation, coeff).bind()
    y = normal(16, 8, seed=1, dtype=tf.float64)
    picard, anderson = (solve(solver(1e-9, 5000), g, y) for solver in SOLVERS)
    assert picard.converged.numpy().all() and anderson.converged.numpy().all()
    slow = picard.iterations.numpy().max()
    assert slow >= 40
    assert anderson.iterations.numpy().max() <= slow / 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype,tolerance", PRECISIONS)
def test_anderson_never_takes_much_more_than_picard(activation, shape, dtype, tolerance):
    g = random_contraction(shape, activation, dtype=dtype).bind()
    y = normal(64, *shape, dtype=dtype)
    picard, anderson = (solve(solver(tolerance), g, y) for solver in SOLVERS)
    assert (anderson.iterations.numpy() <= picard.iterations.numpy() + 2).all()
    assert (anderson.converged.numpy() >= picard.converged.numpy()).all()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(8,), (6, 6, 4)], ids=str)
def test_a_sample_stops_as_it_would_alone(solver, shape):
    g = random_contraction(shape, dtype="float64").bind()
    scale = tf.reshape(tf.constant([1e-6, 1e-3, 1.0, 1e3], tf.float64), [4] + [1] * len(shape))
    y = scale * normal(4, *shape, dtype=tf.float64)
    together = solver(1e-8)(g, y)
    for i in range(4):
        alone = solver(1e-8)(g, y[i : i + 1])
        assert int(alone.iterations[0]) == int(together.iterations[i])
        np.testing.assert_allclose(alone.x[0], together.x[i], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_solution_as_a_start_needs_one_evaluation(solver):
    g = random_contraction((8,), dtype="float64").bind()
    x = normal(3, 8, dtype=tf.float64)
    found = solver(1e-10)(g, x + g(x), initial=x)
    assert (found.iterations.numpy() == 1).all() and found.converged.numpy().all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_most_evaluations_are_kept_to(solver):
    g = random_contraction((8,), dtype="float64").bind()
    found = solver(1e-12, max_iterations=3)(g, normal(3, 8, dtype=tf.float64))
    assert (found.iterations.numpy() == 3).all() and not found.converged.numpy().any()


@pytest.mark.parametrize("solver", SOLVERS)
def test_traced_with_an_unknown_batch_it_is_the_same(solver):
    g = random_contraction((8,), dtype="float64").bind()
    y = normal(5, 8, dtype=tf.float64)
    traced = tf.function(
        lambda y: solver(1e-9)(g, y), input_signature=[tf.TensorSpec((None, 8), tf.float64)]
    )
    eager, traced = solver(1e-9)(g, y), traced(y)
    np.testing.assert_array_equal(eager.iterations, traced.iterations)
    np.testing.assert_allclose(eager.x, traced.x, atol=1e-12)


def test_only_samples_that_have_not_stopped_are_evaluated():
    g = random_contraction((8,), dtype="float64").bind()
    rows = []

    def counted(x):
        rows.append(x.shape[0])
        return g(x)

    scale = tf.constant([[1e-6], [1e-3], [1.0], [1e3]], tf.float64)
    found = Anderson(1e-8)(counted, scale * normal(4, 8, dtype=tf.float64))
    assert len(set(found.iterations.numpy())) > 1
    assert sum(rows) == found.iterations.numpy().sum()


def test_anderson_is_conjugate_residuals_where_g_is_linear_and_symmetric():
    """Conjugate residuals take one more product for the same iterates, to leading order."""
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.standard_normal((40, 40)))
    matrix = basis @ np.diag(np.linspace(-0.9, 0.2, 40)) @ basis.T
    y = random.standard_normal(40)
    g = Affine(Dense(tf.constant(matrix)))
    found = solve(Anderson(1e-9, memory=20), g, tf.constant(y[np.newaxis]))
    operator = np.eye(40) + matrix
    x, r = y.copy(), y - operator @ y
    p, evaluations = r.copy(), 1
    while np.abs(r).max() > 1e-9:
        image, square = operator @ p, r @ operator @ r
        step = square / (image @ image)
        x, r = x + step * p, r - step * image
        p = r + (r @ operator @ r) / square * p
        evaluations += 1
    np.testing.assert_allclose(found.x[0], np.linalg.solve(operator, y), atol=1e-8)
    assert int(found.iterations[0]) <= evaluations + 4


# The accuracy asked for


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-8])
def test_a_block_meets_the_error_asked_for(solver, tolerance):
    block = layers.ResidualBlock(aligned_contraction("elu", 0.97), solver=solver())
    x = normal(16, 8, dtype=tf.float64)
    result = block.inverse(block(x), tolerance=tolerance)
    error = norms(result.x - x) / np.sqrt(8)
    assert result.converged.numpy().all() and (error <= tolerance).all()


def image_stack():
    parts = [layers.Dequantize(17, dtype="float64"), layers.Center(dtype="float64")]
    for seed in range(3):
        parts += [layers.ActNorm(dtype="float64")]
        parts += [layers.ResidualBlock(random_contraction((8,), seed=seed, dtype="float64"))]
    stack = layers.Stack(parts)
    stack.build((None, 8))
    return stack


def test_the_tolerance_of_a_stack_is_in_the_units_of_its_data():
    stack = image_stack()
    x = tf.constant(np.random.default_rng(1).uniform(0.0, 17.0, (32, 8)))
    stack.initialize(x)
    y, before = stack(x), np.inf
    for tolerance in (1e-6, 1e-3, 1e-1):
        result = stack.inverse(y, tolerance=tolerance)
        options = stack._inverse_options(y, tolerance)
        np.testing.assert_array_equal(result.x, stack._inverse_point(y, options))
        error = norms(result.x - x) / np.sqrt(8)
        assert result.converged.numpy().all() and (error <= tolerance).all()
        assert result.iterations.numpy().mean() < before
        before = result.iterations.numpy().mean()


def test_a_tolerance_that_rounding_prevents_is_reported():
    g = random_contraction((8,), bias=100.0)
    stack = layers.Stack([layers.ResidualBlock(g)])
    result = stack.inverse(normal(8, 8), tolerance=1e-9)
    assert not result.converged.numpy().any()
    assert (result.error_bound.numpy() > 1e-9).all()


def test_a_tolerance_that_is_not_positive_raises():
    stack = image_stack()
    for layer in (stack, stack.parts[-1]):
        with pytest.raises(ValueError, match="tolerance is a positive number.*received -1.0"):
            layer.inverse(tf.zeros([1, 8]), tolerance=-1.0)


# Failure is explicit


class Double(keras.layers.Layer):
    """``g(x) = −2 relu(x)`` expands, and ``x + g(x) = −|x|`` is never positive."""

    def call(self, x):
        return -2.0 * tf.nn.relu(x)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("lipschitz", [None, 2.0])
def test_expanding_map_is_not_converged_and_has_no_error_bound(solver, lipschitz):
    g = layers.Contraction([Double()], lipschitz=lipschitz)
    result = layers.ResidualBlock(g, solver=solver()).inverse(tf.ones([3, 2]))
    assert not result.converged.numpy().any()
    assert np.isinf(result.error_bound.numpy()).all()
    assert np.isfinite(result.x.numpy()).all()
    image = result.x.numpy() - 2.0 * np.maximum(result.x.numpy(), 0.0)
    np.testing.assert_allclose(result.residual, np.linalg.norm(image - 1.0, axis=1), rtol=1e-6)
    assert result.iterations.numpy().max() <= 2 * Solver.PATIENCE


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sample_that_cannot_be_solved_does_not_disturb_the_others(solver):
    def g(x):
        return tf.where(x > 5.0, tf.exp(x) * x, 0.5 * tf.sin(x))

    y = tf.constant([[0.3, -0.2], [60.0, 80.0], [1.0, 0.1]])
    found = solver(1e-6)(g, y)
    np.testing.assert_array_equal(found.converged, [True, False, True])
    np.testing.assert_allclose((found.x + g(found.x)).numpy()[[0, 2]], y.numpy()[[0, 2]], atol=1e-6)
    assert np.isfinite(found.x.numpy()).all()


def test_a_bound_given_by_the_caller_replaces_the_certified_one():
    block = layers.ResidualBlock(random_contraction((8,)))
    y = normal(3, 8)
    certified = block.inverse(y).error_bound
    ratio = (1 - block.lipschitz_bound()) / (1 - 0.25)
    np.testing.assert_allclose(
        block.inverse(y, lipschitz=0.25).error_bound, ratio * certified, rtol=1e-4
    )
    assert np.isinf(block.inverse(y, lipschitz=1.0).error_bound.numpy()).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_target_that_is_not_finite_raises(value):
    block = layers.ResidualBlock(random_contraction((8,)))
    y = normal(3, 8).numpy()
    y[1, 2] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN or Inf"):
        block.inverse(y)


# The implicit gradient


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("activation,traced", [("elu", False), ("clipswish", True)])
def test_gradient_of_the_inverse(
    contraction, batch_for, jacobian_of, solver, kind, activation, traced
):
    """The gradients are ``(I + J)⁻ᵀ c`` in y, and ``−⟨(I + J)⁻ᵀ c, ∂g/∂θ⟩`` in the weights."""
    g = contraction(kind, activation)
    block = layers.ResidualBlock(g, solver=solver(tolerance=1e-13))
    y, cotangent = batch_for(kind, 3), batch_for(kind, 3, seed=2)
    block.build(y.shape)
    weights = [variable.value for variable in block.trainable_variables]

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(y)
            x = block.inverse(y).x
            total = tf.reduce_sum(cotangent * x)
        return x, tape.gradient(total, [y, *weights])

    x, (to_y, *to_weights) = (tf.function(gradients) if traced else gradients)()
    jacobian = jacobian_of(g, x)
    transposed = tf.transpose(tf.eye(jacobian.shape[-1], dtype=x.dtype) + jacobian, [0, 2, 1])
    flat = tf.reshape(cotangent, [3, -1, 1])
    expected = tf.reshape(tf.linalg.solve(transposed, flat), y.shape)
    np.testing.assert_allclose(to_y, expected, atol=1e-8)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(expected * g(x))
    for one, other in zip(to_weights, tape.gradient(value, weights), strict=True):
        np.testing.assert_allclose(one, -other, atol=1e-8)


def test_gradient_of_one_sample_is_zero_for_the_others(contraction, batch_for):
    block = layers.ResidualBlock(contraction("dense"))
    y = batch_for("dense", 3)
    with tf.GradientTape() as tape:
        tape.watch(y)
        total = tf.reduce_sum(block.inverse(y).x[1])
    gradient = tape.gradient(total, y).numpy()
    assert gradient[1].any() and not gradient[[0, 2]].any()


def test_the_report_carries_no_gradient(contraction, batch_for):
    block = layers.ResidualBlock(contraction("dense"))
    y = batch_for("dense", 3)
    with tf.GradientTape() as tape:
        tape.watch(y)
        result = block.inverse(y)
        total = tf.reduce_sum(result.residual + result.error_bound)
    gradient = tape.gradient(total, y)
    assert gradient is None or not gradient.numpy().any()


# Configurations and errors


@pytest.mark.parametrize("solver", [Picard(1e-4, 7), Anderson(1e-5, 9, memory=3)], ids=repr)
def test_configuration_round_trip(solver):
    again = solvers.get(keras.saving.serialize_keras_object(solver))
    assert type(again) is type(solver) and again.get_config() == solver.get_config()
    assert solvers.get(solver) is solver


@pytest.mark.parametrize("solver", SOLVERS)
def test_wrong_options_are_named(solver):
    for tolerance in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="tolerance is a positive number"):
            solver(tolerance=tolerance)
    with pytest.raises(ValueError, match="max_iterations is at least 1; received 0"):
        solver(max_iterations=0)
    with pytest.raises(ValueError, match="memory is at least 1; received 0"):
        Anderson(memory=0)
    with pytest.raises(ValueError, match="solver is a solver.*'newton'"):
        solvers.get("newton")


def test_base_solver_is_abstract():
    with pytest.raises(TypeError, match="next_iterate"):
        Solver()
