"""Inversion of points along paths, against inversion of each point alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers
from iresnet_tf.models import ConditionalDensityModel, DensityModel, HybridModel, architectures
from iresnet_tf.numerics.execution import compiled
from iresnet_tf.numerics.log_det import Exact
from iresnet_tf.numerics.solvers import Anderson, Picard, paths


@pytest.mark.parametrize("steps", [2, 3, 5, 6, 9, 14, 33])
def test_the_others_are_interpolated_by_the_cubic_of_the_nearest(steps):
    first, second, weights = paths._order(steps)
    assert sorted([*first, *second]) == list(range(steps))
    assert {0, steps - 1} <= set(first) and np.diff(first).max() <= paths.STRIDE
    for degree in range(min(4, len(first))):
        np.testing.assert_allclose(weights @ first**degree, second**degree, rtol=1e-11)
    for row, point in zip(weights, second):
        nearest = sorted(first, key=lambda each: abs(each - point))[:4]
        assert set(first[row != 0.0]) <= set(nearest)


def curves(event_shape, steps, count=3):
    """Returns smooth paths of data, ``[count, steps, …event]``."""
    random = np.random.default_rng(3)
    a, b = random.standard_normal((2, count, 1, *event_shape))
    angle = np.linspace(0.0, 1.5, steps).reshape([1, steps, *(1 for _ in event_shape)])
    return tf.constant(np.cos(angle) * a + np.sin(angle) * b)


def forward(stack, x):
    return stack(tf.reshape(x, [-1, *x.shape[2:]]))


@pytest.mark.parametrize("kind, shape", [("dense", (6,)), ("conv", (4, 3, 2))])
@pytest.mark.parametrize("solver", [Anderson(1e-11), Picard(1e-11)], ids=["anderson", "picard"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_every_point_is_the_preimage(contraction, kind, shape, solver, steps):
    blocks = [layers.ResidualBlock(contraction(kind, seed=i), Exact(), solver) for i in (0, 1)]
    stack = layers.Stack(blocks)
    x = curves(shape, steps)
    found = stack.inverse(forward(stack, x), path_steps=np.int64(steps))
    assert found.converged.numpy().all()
    np.testing.assert_allclose(tf.reshape(found.x, x.shape), x, rtol=0, atol=1e-9)
    assert all(each.shape == (3 * steps,) for each in found[1:])


@pytest.mark.parametrize("kind, shape", [("dense", (6,)), ("conv", (4, 3, 2))])
def test_neighbours_take_fewer_evaluations(contraction, kind, shape):
    stack = layers.Stack([layers.ResidualBlock(contraction(kind), Exact(), Anderson(1e-9))])
    steps = 17
    y = forward(stack, curves(shape, steps))
    alone = stack.inverse(y).iterations.numpy().reshape(3, steps)
    together = stack.inverse(y, path_steps=steps).iterations.numpy().reshape(3, steps)
    first, second, _ = paths._order(steps)
    np.testing.assert_array_equal(together[:, first], alone[:, first])
    assert together[:, second].mean() < alone[:, second].mean() - 1.0


def test_of_a_linear_map_the_others_are_known_on_straight_paths():
    linear = layers.SpectralDense(4, coeff=0.9, dtype="float64")
    g = layers.Contraction([linear], dtype="float64")
    g.build((None, 4))
    linear.kernel.assign(np.random.default_rng(0).standard_normal((4, 4)))
    layers.refresh(g, 1e-9)
    block = layers.ResidualBlock(g, Exact(), Anderson(1e-9))
    steps = 9
    a, b = np.random.default_rng(1).standard_normal((2, 1, 4))
    y = np.linspace(a, b, steps)[:, 0]
    iterations = layers.Stack([block]).inverse(y, path_steps=steps).iterations.numpy()
    first, second, _ = paths._order(steps)
    assert (iterations[second] == 1).all() and (iterations[first] > 3).all()


@pytest.fixture
def vector_model():
    model = DensityModel(architectures.vector_flow(2, 8, 2, solver=Anderson(1e-6)), seed=0)
    model.build((None, 2))
    scale_up(model)
    return model


@pytest.fixture
def steps_seen(monkeypatch):
    """Records the number of steps of the paths that each block inverts."""
    seen, coarse_to_fine = [], paths.coarse_to_fine

    def recorded(solve, y, steps):
        seen.append(steps)
        return coarse_to_fine(solve, y, steps)

    monkeypatch.setattr(paths, "coarse_to_fine", recorded)
    return seen


def scale_up(model):
    random = np.random.default_rng(0)
    for layer in layers.spectral_layers(model):
        layer.kernel.assign(random.normal(size=layer.kernel.shape))
    layers.refresh(model, 1e-6)


@pytest.mark.parametrize("factor_out", [True, False])
def test_paths_of_images_pass_every_layer(factor_out, steps_seen):
    flow = architectures.image_flow((1, 2), 6, factor_out=factor_out, solver=Anderson(1e-6))
    model = DensityModel(flow, preprocessing=[layers.Dequantize(16), layers.Logit(0.05)], seed=0)
    model.build((None, 8, 8, 1))
    scale_up(model)
    x = 8.0 + 6.0 * tf.tanh(tf.cast(curves((8, 8, 1), 6, count=2), "float32"))
    z = model.encode(tf.reshape(x, [12, 8, 8, 1]))
    found = model.decode_paths(tf.reshape(z, [2, 6, *z.shape[1:]]))
    assert found.shape == (2, 6, 8, 8, 1)
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-3)
    assert steps_seen == [6] * 3


def test_gradients_are_those_of_the_inverse(contraction, jacobian_of):
    block = layers.ResidualBlock(contraction("dense"), Exact(), Anderson(1e-12))
    stack, steps = layers.Stack([block]), 6
    x = curves((6,), steps, count=2)
    y = forward(stack, x)
    cotangent = tf.constant(np.random.default_rng(5).standard_normal(y.shape))
    with tf.GradientTape() as tape:
        tape.watch(y)
        inverse = stack._inverse_point(y, layers.InverseOptions(path_steps=steps))
        total = tf.reduce_sum(cotangent * inverse)
    jacobians = jacobian_of(block, tf.reshape(x, y.shape)).numpy()
    wanted = np.linalg.solve(jacobians.swapaxes(1, 2), cotangent.numpy()[:, :, np.newaxis])
    np.testing.assert_allclose(tape.gradient(total, y), wanted[:, :, 0], rtol=0, atol=1e-8)


@pytest.fixture
def conditional_model():
    keras.utils.set_random_seed(1)
    conditioner = keras.layers.Dense(4, dtype="float64")
    options = {"context_shape": (5,), "conditioner": conditioner, "dtype": "float64"}
    g = layers.Contraction.mlp((8, 4), **options)
    blocks = [layers.ResidualBlock(g, Exact(), Anderson(1e-11))]
    model = ConditionalDensityModel(blocks, seed=0, dtype="float64")
    model.build((None, 3))
    return model


@pytest.mark.parametrize("contexts", [1, 3])
def test_a_path_has_one_context(conditional_model, contexts):
    model, steps = conditional_model, 7
    x = curves((3,), steps)
    context = 3.0 * np.random.default_rng(4).standard_normal((contexts, 5))
    each = np.repeat(np.broadcast_to(context, [3, 5]), steps, axis=0)
    z = model.encode(tf.reshape(x, [-1, 3]), context=each)
    # The contexts matter.
    other = model.encode(tf.reshape(x, [-1, 3]), context=np.roll(each, 1, axis=1))
    assert np.abs(z - other).max() > 1e-2
    found = model.decode_paths(tf.reshape(z, x.shape), context=context)
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-9)


def test_gradients_reach_weights_and_contexts(conditional_model):
    model = conditional_model
    z = tf.random.stateless_normal([3, 7, 3], [0, 1], dtype=tf.float64)
    context = tf.random.stateless_normal([3, 5], [0, 2], dtype=tf.float64)
    weights = [weight.value for weight in model.flow.trainable_variables]

    def gradients(decode):
        with tf.GradientTape() as tape:
            tape.watch([z, context])
            total = tf.reduce_sum(tf.sin(decode()))
        return tape.gradient(total, [z, context, *weights])

    def one_by_one():
        each = [model.decode(z[:, step], context=context) for step in range(7)]
        return tf.stack(each, 1)

    together = gradients(lambda: model.decode_paths(z, context=context))
    for found, wanted in zip(together, gradients(one_by_one), strict=True):
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8)


def test_paths_are_shared_out_among_threads(contraction, monkeypatch):
    stack = layers.Stack([layers.ResidualBlock(contraction("conv"), Exact(), Anderson(1e-11))])
    x = curves((4, 3, 2), 9)
    monkeypatch.setattr(compiled, "number_of_parts", lambda: 4)
    found = stack._inverse_point(forward(stack, x), layers.InverseOptions(path_steps=9))
    np.testing.assert_allclose(tf.reshape(found, x.shape), x, rtol=0, atol=1e-9)


def test_the_number_of_paths_may_be_known_only_when_it_runs(vector_model):
    z = tf.reshape(tf.linspace(-1.0, 1.0, 36), [2, 9, 2])
    spec = tf.TensorSpec([None, 9, 2])
    traced = tf.function(vector_model.decode_paths, autograph=False, input_signature=[spec])
    np.testing.assert_allclose(traced(z), vector_model.decode_paths(z), rtol=0, atol=1e-5)


# Samples at several temperatures.

TEMPERATURES = [0.5, 0.7, 0.8, 0.9, 1.0, 1.3]


def test_several_temperatures_show_the_same_noise(vector_model, steps_seen):
    samples = vector_model.sample(4, temperature=TEMPERATURES, seed=2)
    assert samples.shape == (4, 6, 2)
    assert steps_seen == [6] * 2
    for index, temperature in enumerate(TEMPERATURES):
        alone = vector_model.sample(4, temperature=temperature, seed=2)
        np.testing.assert_allclose(samples[:, index], alone, rtol=0, atol=1e-5)


def test_several_temperatures_of_given_classes():
    flow = architectures.image_flow((1,), 4)
    model = HybridModel(flow, 3, prior="conditional", seed=0)
    model.build((None, 4, 4, 1))
    samples = model.sample(2, temperature=[0.5, 1.0], seed=2, labels=[0, 2])
    assert samples.shape == (2, 2, 4, 4, 1)
    alone = model.sample(2, temperature=0.5, seed=2, labels=[0, 2])
    np.testing.assert_allclose(samples[:, 0], alone, rtol=0, atol=1e-4)


def test_several_temperatures_of_every_context(conditional_model):
    context = np.random.default_rng(4).standard_normal((2, 5))
    samples = conditional_model.sample(3, context=context, temperature=TEMPERATURES, seed=2)
    assert samples.shape == (2, 3, 6, 3)
    alone = conditional_model.sample(3, context=context, temperature=0.8, seed=2)
    np.testing.assert_allclose(samples[:, :, 2], alone, rtol=0, atol=1e-9)


# What is refused.


@pytest.mark.parametrize("temperature", [[], [0.5, 0.0], [[0.5, 1.0]], [1.0, np.nan]])
def test_temperatures_are_positive_numbers(vector_model, temperature):
    with pytest.raises(ValueError, match="temperature is a positive number, or several"):
        vector_model.sample(2, temperature=temperature)


@pytest.mark.parametrize("shape", [(4, 2), (2, 0, 2), (2, 3, 4), (2, 2, 3, 2)])
def test_paths_have_an_axis_of_their_own(vector_model, shape):
    with pytest.raises(ValueError, match=r"\[paths, steps, 2\].*received"):
        vector_model.decode_paths(np.zeros(shape))


def test_paths_are_whole(vector_model):
    for steps in (0, 4, 2.0):
        with pytest.raises(ValueError, match=f"path_steps={steps} and 6 points"):
            vector_model.flow.inverse(np.zeros((6, 2)), path_steps=steps)
