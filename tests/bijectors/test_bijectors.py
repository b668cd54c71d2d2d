"""The TFP bijectors of the invertible layers: consistent, differentiable and never stale."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.bijectors import LayerBijector, Residual, from_layer
from iresnet_tf.layers import (
    ActNorm,
    Center,
    Contraction,
    Dequantize,
    FactorOut,
    Flatten,
    Logit,
    ResidualBlock,
    Squeeze,
    Stack,
)
from iresnet_tf.numerics.log_det import Exact, PowerSeries
from iresnet_tf.numerics.solvers import Anderson

tfd, tfb = tfp.distributions, tfp.bijectors

VECTOR, IMAGE = (3,), (4, 2, 1)


def dense_block(log_det=None, features=3, dtype="float64"):
    g = Contraction.mlp(units=(8,), coeff=0.9, dtype=dtype)
    block = ResidualBlock(g, log_det or Exact(), Anderson(tolerance=1e-12))
    block.build((None, features))
    return block


def conv_block(shape=IMAGE):
    g = Contraction.conv(filters=3, kernel_sizes=(3, 3), dtype="float64")
    block = ResidualBlock(g, Exact(), Anderson(tolerance=1e-12))
    block.build((None, *shape))
    return block


def act_norm(features):
    layer = ActNorm(dtype="float64")
    layer.build((None, *features))
    layer.bias.assign(np.linspace(-1.0, 0.5, features[-1]))
    layer.log_scale.assign(np.linspace(0.3, -0.8, features[-1]))
    return layer


def built(layer, shape):
    layer.build((None, *shape))
    return layer


def image_stack():
    fixed = [Dequantize(8, dtype="float64"), Logit(0.05, dtype="float64")]
    fixed += [Center(0.2, dtype="float64"), Squeeze(dtype="float64")]
    parts = [*fixed, act_norm((2, 1, 4)), conv_block((2, 1, 4))]
    return built(Stack(parts, dtype="float64"), IMAGE)


def real_nvp():
    def shift_and_log_scale(x, output_units, **_):
        mixed = tf.reduce_sum(tf.sin(x), axis=-1, keepdims=True)
        ones = tf.ones([output_units], x.dtype)
        return 0.4 * mixed * ones, 0.3 * mixed * ones

    return tfb.RealNVP(num_masked=1, shift_and_log_scale_fn=shift_and_log_scale)


def scale_and_shift():
    return tfb.Scale(tf.constant(1.7, tf.float64)), tfb.Shift(tf.constant(-0.4, tf.float64))


# name: (bijector, shape of a data sample, shape of a latent sample, range of the data)
CASES = {
    "residual dense": lambda: (Residual(dense_block()), VECTOR, VECTOR, (-2, 2)),
    "residual conv": lambda: (Residual(conv_block()), IMAGE, IMAGE, (-2, 2)),
    "act norm": lambda: (from_layer(act_norm(VECTOR)), VECTOR, VECTOR, (-2, 2)),
    "squeeze": lambda: (
        from_layer(built(Squeeze(dtype="float64"), IMAGE)),
        IMAGE,
        (2, 1, 4),
        (-2, 2),
    ),
    "logit": lambda: (
        from_layer(built(Logit(dtype="float64"), VECTOR)),
        VECTOR,
        VECTOR,
        (0, 1),
    ),
    "dequantize": lambda: (
        from_layer(built(Dequantize(8, dtype="float64"), IMAGE)),
        IMAGE,
        IMAGE,
        (0, 8),
    ),
    "stack": lambda: (from_layer(image_stack()), IMAGE, (2, 1, 4), (0, 8)),
    "chain": lambda: (
        tfb.Chain([Residual(dense_block()), *scale_and_shift(), Residual(dense_block())]),
        VECTOR,
        VECTOR,
        (-2, 2),
    ),
    "chain with squeeze": lambda: (
        tfb.Chain([Residual(conv_block((2, 1, 4))), from_layer(Squeeze(dtype="float64"))]),
        IMAGE,
        (2, 1, 4),
        (-2, 2),
    ),
    "chain with sigmoid": lambda: (
        tfb.Chain([Residual(dense_block()), tfb.Invert(tfb.Sigmoid())]),
        VECTOR,
        VECTOR,
        (0.05, 0.95),
    ),
    "chain with real nvp": lambda: (
        tfb.Chain([real_nvp(), Residual(dense_block())]),
        VECTOR,
        VECTOR,
        (-2, 2),
    ),
    "invert": lambda: (tfb.Invert(Residual(dense_block())), VECTOR, VECTOR, (-2, 2)),
    "invert chain": lambda: (
        tfb.Invert(tfb.Chain([tfb.Softplus(), Residual(dense_block())])),
        VECTOR,
        VECTOR,
        (0.1, 2),
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """``(bijector, data, latent shape)`` with four samples of data, ``[4, …event]``."""
    keras.utils.set_random_seed(1)
    bijector, shape, latent_shape, (low, high) = CASES[request.param]()
    x = np.random.default_rng(7).uniform(low, high, (4, *shape))
    return bijector, tf.constant(x), latent_shape


def maps(bijector, event_ndims, latent_ndims, traced):
    """Returns ``forward``, ``inverse`` and their log-determinants, without a cache."""

    def map_of(method, *ndims):
        def evaluate(x):
            return method(tf.identity(x), *ndims)

        return tf.function(evaluate, reduce_retracing=True) if traced else evaluate

    return (
        map_of(bijector.forward),
        map_of(bijector.inverse),
        map_of(bijector.forward_log_det_jacobian, event_ndims),
        map_of(bijector.inverse_log_det_jacobian, latent_ndims),
    )


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_bijective_with_log_dets_of_the_autodiff_jacobian(case, traced, jacobian_of):
    bijector, samples, latent_shape = case
    shape = tuple(samples.shape[1:])
    forward, inverse, forward_log_det, inverse_log_det = maps(
        bijector, len(shape), len(latent_shape), traced
    )
    expected = np.linalg.slogdet(jacobian_of(bijector.forward, samples))[1]
    for batch, chosen in [((), samples[0]), ((4,), samples), ((2, 2), samples)]:
        x = tf.reshape(chosen, [*batch, *shape])
        y = forward(x)
        assert y.shape == (*batch, *latent_shape)
        assert np.all(np.isfinite(y))
        np.testing.assert_allclose(inverse(y), x, rtol=0, atol=1e-10)
        there, back = forward_log_det(x), inverse_log_det(y)
        assert there.shape == back.shape == batch
        np.testing.assert_allclose(there + back, 0.0, rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            there, expected.reshape(batch) if batch else expected[0], rtol=0, atol=1e-10
        )


def test_event_shapes_static_and_dynamic(case):
    bijector, samples, latent_shape = case
    shape = tuple(samples.shape[1:])
    for batch in [(), (5,), (2, 5)]:
        data, latent = [*batch, *shape], [*batch, *latent_shape]
        assert bijector.forward_event_shape(data) == latent
        assert bijector.inverse_event_shape(latent) == data
        assert list(bijector.forward_event_shape_tensor(data)) == latent
        assert list(bijector.inverse_event_shape_tensor(latent)) == data


def test_min_event_ndims_are_the_ranks_of_a_sample(case):
    bijector, samples, latent_shape = case
    assert bijector.forward_min_event_ndims == samples.shape.rank - 1
    assert bijector.inverse_min_event_ndims == len(latent_shape)


def test_unknown_batch_and_event_dimensions_are_taken_from_a_built_layer():
    bijector = Residual(dense_block())

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float64)])
    def round_trip(x):
        return bijector.inverse(tf.identity(bijector.forward(x)))

    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    np.testing.assert_allclose(round_trip(x), x, rtol=0, atol=1e-10)


# Variables and gradients.


def flow_of(bijector, features=3):
    base = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), features)
    return tfd.TransformedDistribution(base, tfb.Invert(bijector))


def expected_log_prob(blocks, x):
    """Returns the log-density by the change of variables, without a bijector."""
    total = 0.0
    for block in blocks:
        x, log_det = block.forward_and_log_det(x)
        total += log_det
    return total - tf.reduce_sum(0.5 * x**2 + 0.5 * np.log(2 * np.pi), -1)


def data(batch=4, features=3):
    return tf.constant(np.random.default_rng(3).normal(size=(batch, features)))


def change(block, factor=0.6):
    for weight in block.trainable_variables:
        weight.assign(factor * weight + 0.05)


def test_variables_are_seen_by_tf_module_through_chain_invert_and_distribution():
    first, second = dense_block(), dense_block()
    expected = {id(w.value) for block in (first, second) for w in block.trainable_variables}
    chain = tfb.Chain([Residual(first), tfb.Scale(tf.constant(2.0, tf.float64)), Residual(second)])
    for module in (chain, tfb.Invert(chain), flow_of(chain)):
        assert {id(variable) for variable in module.trainable_variables} == expected
    every = {id(w.value) for block in (first, second) for w in block.weights}
    assert every <= {id(variable) for variable in chain.variables}


def test_variables_stay_those_of_the_keras_layer():
    block = dense_block()
    bijector = Residual(block)
    bijector.trainable_variables[0].assign_add(tf.ones_like(bijector.trainable_variables[0]))
    np.testing.assert_array_equal(block.trainable_variables[0], bijector.trainable_variables[0])


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_gradients_reach_every_variable_after_an_evaluation_outside_the_tape(traced):
    blocks = [dense_block(), dense_block()]
    flow = flow_of(tfb.Chain([Residual(blocks[1]), Residual(blocks[0])]))
    x = data()
    flow.log_prob(x)

    def gradients():
        with tf.GradientTape() as tape:
            log_prob = tf.reduce_sum(flow.log_prob(x))
        return tape.gradient(log_prob, flow.trainable_variables)

    found = (tf.function(gradients) if traced else gradients)()
    with tf.GradientTape() as tape:
        log_prob = tf.reduce_sum(expected_log_prob(blocks, x))
    expected = tape.gradient(log_prob, flow.trainable_variables)
    assert len(found) == 10
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_sample_gradient_is_that_of_the_inverse_jacobian(jacobian_of):
    block = dense_block()
    guide = flow_of(Residual(block))
    with tf.GradientTape() as tape:
        x = guide.sample(4, seed=5)
        loss = tf.reduce_sum(tf.sin(x))
    found = tape.gradient(loss, guide.trainable_variables)

    # x + g(x; θ) = z for fixed z, so dx = −(I + J)⁻¹ ∂g/∂θ dθ.
    x = tf.constant(x.numpy())
    with tf.GradientTape() as tape:
        y = block(x)
    adjoint = tf.linalg.solve(jacobian_of(block, x), tf.cos(x)[..., tf.newaxis], adjoint=True)[
        ..., 0
    ]
    expected = tape.gradient(y, guide.trainable_variables, output_gradients=-adjoint)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def test_each_block_is_evaluated_once_in_a_traced_log_prob():
    class Counted(Contraction):
        evaluations = 0

        def bind(self):
            Counted.evaluations += 1
            return super().bind()

    layers = Contraction.mlp(units=(8,), dtype="float64").parts
    block = built(ResidualBlock(Counted(layers, dtype="float64"), Exact()), VECTOR)
    flow = flow_of(Residual(block))
    Counted.evaluations = 0
    tf.function(flow.log_prob)(data())
    assert Counted.evaluations == 1


# Nothing is stale.


@pytest.mark.parametrize("chained", [False, True], ids=["residual", "chain"])
def test_the_same_eager_x_has_a_new_value_after_a_weight_change(chained):
    block = dense_block()
    bijector = tfb.Chain([Residual(block)]) if chained else Residual(block)
    flow, x = flow_of(bijector), data()
    traced = tf.function(flow.log_prob)
    before = flow.log_prob(x)
    np.testing.assert_allclose(traced(x), before, rtol=1e-12)
    y = bijector.forward(x)
    change(block)
    expected = expected_log_prob([block], x)
    assert np.max(np.abs(expected - before)) > 1e-3
    np.testing.assert_allclose(flow.log_prob(x), expected, rtol=1e-12)
    np.testing.assert_allclose(traced(x), expected, rtol=1e-12)
    np.testing.assert_allclose(bijector.forward(x), block(x), rtol=1e-12)
    np.testing.assert_allclose(bijector.inverse(y), block.inverse(y).x, rtol=0, atol=1e-10)
    log_det = block.forward_and_log_det(x)[1]
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(x, 1), log_det, rtol=1e-10)


def test_inverse_of_an_eager_forward_is_computed():
    bijector, x = tfb.Chain([Residual(dense_block())]), data()
    back = bijector.inverse(bijector.forward(x))
    assert back is not x
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_blocks_of_equal_configuration_share_no_cache(traced):
    first, second = dense_block(), dense_block()
    second.set_weights([0.5 * weight for weight in first.get_weights()])
    one, other = Residual(first, name="block"), Residual(second, name="block")
    assert one != other

    def both(x):
        return one.forward(x), other.forward(x)

    x = data()
    found = (tf.function(both) if traced else both)(x)
    np.testing.assert_allclose(found[0], first(x), rtol=1e-12)
    np.testing.assert_allclose(found[1], second(x), rtol=1e-12)
    assert np.max(np.abs(found[0] - found[1])) > 1e-3


# Randomness.


def stochastic():
    return Residual(dense_block(PowerSeries(terms=3)), name="stochastic")


@pytest.mark.parametrize("wrap", [lambda b: b, tfb.Invert, lambda b: tfb.Chain([b])])
def test_log_det_without_seed_is_fresh_for_every_eager_call(wrap):
    bijector, x = wrap(stochastic()), data()
    assert np.any(
        bijector.forward_log_det_jacobian(x, 1) != bijector.forward_log_det_jacobian(x, 1)
    )


def test_log_det_without_seed_is_fresh_for_every_traced_call():
    bijector, x = stochastic(), data()
    log_det = tf.function(lambda x: bijector.forward_log_det_jacobian(x, 1))
    assert np.any(log_det(x) != log_det(x))


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("chained", [False, True], ids=["invert", "chain"])
def test_log_prob_repeats_with_a_seed_in_the_bijector_kwargs(chained, traced):
    bijector, x = stochastic(), data()
    flow = flow_of(tfb.Chain([bijector]) if chained else bijector)

    def log_prob(seed):
        kwargs = {"stochastic": {"seed": seed}} if chained else {"seed": seed}
        evaluate = tf.function(flow.log_prob) if traced else flow.log_prob
        return evaluate(x, bijector_kwargs=kwargs)

    np.testing.assert_array_equal(log_prob(3), log_prob(3))
    assert np.any(log_prob(3) != log_prob(4))
    z, log_det = bijector.layer.forward_and_log_det(x, seed=3)
    np.testing.assert_allclose(
        log_prob(3), log_det + tf.reduce_sum(tfd.Normal(tf.zeros_like(z), 1.0).log_prob(z), -1)
    )


def test_direct_calls_repeat_with_a_seed_and_cancel():
    bijector, x = stochastic(), data()
    there = bijector.forward_log_det_jacobian(x, 1, seed=3)
    np.testing.assert_array_equal(there, bijector.forward_log_det_jacobian(x, 1, seed=3))
    np.testing.assert_array_equal(there, bijector.layer.forward_and_log_det(x, seed=3)[1])
    y = tf.identity(bijector.forward(x, seed=3))
    back = bijector.inverse_log_det_jacobian(y, 1, seed=3)
    np.testing.assert_allclose(there, -back, rtol=0, atol=1e-10)


def test_noise_of_dequantize_is_never_part_of_the_map():
    layer = built(Dequantize(8, dtype="float64"), VECTOR)

    class Inside(keras.layers.Layer):
        def call(self, x, training=False):
            return from_layer(layer).forward(x)

    x = np.array([[0.0, 3.0, 7.0]])
    np.testing.assert_array_equal(Inside(dtype="float64")(x, training=True), x / 8)


# Errors and unbuilt layers.


def test_another_layer_type_is_named():
    with pytest.raises(ValueError, match="invertible layer.*Dense"):
        from_layer(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="ResidualBlock.*ActNorm"):
        Residual(ActNorm())


def test_unknown_rank_asks_for_event_ndims():
    with pytest.raises(ValueError, match="event_ndims"):
        from_layer(ActNorm())
    assert from_layer(ActNorm(), event_ndims=3).forward_min_event_ndims == 3
    # The block's rank is that of what the layers before it make of a sample.
    vector = dense_block()
    for flat in (Flatten(dtype="float64"), FactorOut([ActNorm(dtype="float64")])):
        with pytest.raises(ValueError, match="event_ndims"):
            from_layer(Stack([ActNorm(dtype="float64"), flat, vector]))


def test_a_rank_that_contradicts_the_built_layer_is_refused():
    with pytest.raises(ValueError, match="rank 1.*event_ndims=3"):
        Residual(dense_block(), event_ndims=3)


def test_a_wrong_event_shape_is_named():
    with pytest.raises(ValueError, match=r"\(3,\).*received.*\(4, 2\)"):
        Residual(dense_block()).forward(tf.zeros([4, 2], tf.float64))


FIRST_CALLS = {
    "forward": lambda bijector, x: bijector.forward(x),
    "inverse": lambda bijector, x: bijector.inverse(x),
    "log det": lambda bijector, x: bijector.forward_log_det_jacobian(x, 1),
}


@pytest.mark.parametrize("first_call", FIRST_CALLS)
def test_a_bijector_of_an_unbuilt_layer_shows_its_variables_after_the_first_call(first_call):
    block = ResidualBlock(Contraction.mlp(units=(8,), dtype="float64"))
    bijector = Residual(block)
    chain = tfb.Chain([bijector])
    assert bijector.trainable_variables == ()
    assert chain.forward_event_shape([5, 3]) == [5, 3]
    FIRST_CALLS[first_call](chain, data())
    assert {id(v) for v in chain.trainable_variables} == {
        id(w.value) for w in block.trainable_variables
    }
    assert len(bijector.trainable_variables) == 5


def test_event_shapes_of_an_unbuilt_squeeze():
    bijector = from_layer(Squeeze())
    assert bijector.forward_event_shape([5, 4, 2, 1]) == [5, 2, 1, 4]
    assert list(bijector.forward_event_shape_tensor([5, 4, 2, 1])) == [5, 2, 1, 4]
    assert bijector.inverse_event_shape([5, 2, 1, 4]).as_list() == [5, None, None, None]
    with pytest.raises(ValueError, match="not built"):
        bijector.inverse_event_shape_tensor([5, 2, 1, 4])


# Life among other objects.


def test_caches_empty_when_tensors_are_dropped():
    storage = tfb.Bijector._cache.storage
    gc.collect()
    held = len(storage)
    bijector = Residual(dense_block())
    chain = tfb.Chain([bijector, *scale_and_shift()])
    x = data()
    for each in (bijector, chain):
        y = each.forward(x)
        each.inverse(y)
        each.inverse_log_det_jacobian(y, 1)
        each.forward_log_det_jacobian(x, 1)
    del x, y
    gc.collect()
    assert len(storage) == held


def test_repeated_evaluations_of_one_tensor_gather_nothing():
    storage = tfb.Bijector._cache.storage
    flow, x = flow_of(Residual(dense_block())), data()
    flow.log_prob(x)
    held = len(storage)
    for _ in range(5):
        flow.log_prob(x)
    assert len(storage) == held


def test_a_traced_graph_is_freed():
    bijector = Residual(dense_block())

    def trace():
        function = tf.function(lambda x: bijector.forward(x) + bijector.inverse(x))
        return weakref.ref(function.get_concrete_function(data()).graph)

    graph = trace()
    gc.collect()
    assert graph() is None


def test_a_branch_does_not_leave_its_tensors_to_the_outer_graph():
    bijector, x = Residual(dense_block()), data()

    @tf.function
    def both(x, inverted):
        tf.cond(inverted, lambda: bijector.forward(x), lambda: x)
        return bijector.forward(x)

    np.testing.assert_allclose(both(x, tf.constant(True)), bijector.forward(x), rtol=1e-12)


def test_as_arguments_of_a_tf_function_they_are_traced_once_and_follow_the_weights():
    block = dense_block()
    chain = tfb.Chain([Residual(block)])
    traces = []

    @tf.function
    def forward(bijector, x):
        traces.append(bijector)
        return bijector.forward(x)

    x = data()
    for bijector in (chain.bijectors[0], chain, tfb.Invert(tfb.Invert(chain))):
        traces.clear()
        for _ in range(3):
            np.testing.assert_allclose(forward(bijector, x), block(x), rtol=1e-12)
            bijector.forward(x)
            change(block, 0.9)
        assert len(traces) == 1


def test_copies_share_the_layer():
    block = dense_block()
    for bijector in (Residual(block), from_layer(block)):
        copied = bijector.copy(name="copied")
        assert copied.name == "copied"
        assert copied.layer is block
        assert type(copied) is type(bijector)
        assert isinstance(copied, LayerBijector)
    flow, x = flow_of(Residual(block)), data()
    np.testing.assert_allclose(flow.copy().log_prob(x), flow.log_prob(x), rtol=1e-12)


def test_in_a_joint_distribution():
    block = dense_block()

    def likelihood(z):
        return tfd.Normal(tf.reduce_sum(z, -1), tf.constant(1.0, tf.float64))

    joint = tfd.JointDistributionSequential([flow_of(Residual(block)), likelihood])
    z, a = joint.sample(4, seed=1)
    for _ in range(2):
        expected = expected_log_prob([block], z) + likelihood(z).log_prob(a)
        np.testing.assert_allclose(joint.log_prob([z, a]), expected, rtol=1e-9)
        traced = tf.function(joint.log_prob)([z, a])
        np.testing.assert_allclose(traced, expected, rtol=1e-9)
        change(block)
