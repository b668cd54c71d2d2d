"""Conditional flows: exact in x for every context, and amortised posteriors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf import layers
from iresnet_tf.bijectors import Residual, from_layer
from iresnet_tf.models import ConditionalDensityModel, DensityModel, inputs
from iresnet_tf.numerics.execution import compiled
from iresnet_tf.numerics.log_det import Exact, PowerSeries
from iresnet_tf.numerics.solvers import Anderson

tfd, tfb = tfp.distributions, tfp.bijectors

SHAPES = {"dense": (3,), "conv": (4, 3, 2), "dense net": (4, 3, 2)}
CONTEXT = (5,)


def conditioner(units=4):
    return keras.Sequential([keras.layers.Dense(units, "tanh", dtype="float64")])


def contraction(kind, **options):
    options = {"context_shape": CONTEXT, "conditioner": conditioner(), "dtype": "float64"} | options
    if kind == "dense":
        return layers.Contraction.mlp((8, 4), **options)
    if kind == "conv":
        return layers.Contraction.conv(3, (3, 1, 2), **options)
    return layers.Contraction.dense_net(growth=2, depth=2, kernel_size=2, **options)


def block_of(kind="dense", log_det=None, **options):
    block = layers.ResidualBlock(
        contraction(kind, **options), log_det or Exact(), Anderson(tolerance=1e-12)
    )
    block.build((None, *SHAPES[kind]))
    return block


def pairs(kind="dense", batch=4, seed=1):
    random = np.random.default_rng(seed)
    return random.normal(size=(batch, *SHAPES[kind])), 3.0 * random.normal(size=(batch, *CONTEXT))


@pytest.fixture(scope="module", params=SHAPES)
def case(request):
    keras.utils.set_random_seed(2)
    return request.param, block_of(request.param)


def test_log_det_is_that_of_the_jacobian_in_x_at_each_sample_s_context(case, jacobian_of):
    kind, block = case
    x, context = pairs(kind)
    y, log_det = block.forward_and_log_det(x, context=context)
    for row in range(4):
        own = context[row : row + 1]
        jacobian = jacobian_of(lambda x, own=own: block(x, context=own), x[row : row + 1])
        np.testing.assert_allclose(log_det[row], np.linalg.slogdet(jacobian[0])[1], atol=1e-12)
        np.testing.assert_allclose(y[row], block(x[row : row + 1], context=own)[0], rtol=1e-13)


def test_inverse_undoes_the_block_at_its_context_alone(case):
    kind, block = case
    x, context = pairs(kind)
    y = block(x, context=context)
    result = block.inverse(y, context=context)
    assert np.all(result.converged)
    assert np.all(np.abs(result.x - x) <= 1e-11)
    assert np.max(np.abs(block.inverse(y, context=context[::-1]).x - x)) > 1e-2


def test_the_lipschitz_bound_holds_in_x_for_contexts_however_large(case, jacobian_of):
    """Certified, with the context's weights and the contexts a hundred times what they were."""
    kind, block = case
    x, context = pairs(kind)
    g, bound = block.g, block.lipschitz_bound()
    biases = [each for each in g._flatten_layers() if isinstance(each, layers.ContextBias)]
    before = [bias.get_weights() for bias in biases]
    for bias in biases:
        bias.set_weights([100.0 * weight for weight in bias.get_weights()])
    try:
        assert block.lipschitz_bound() == bound < 1.0
        for row in range(4):
            own = 100.0 * context[row : row + 1]
            jacobian = jacobian_of(lambda x, own=own: g(x, context=own), x[row : row + 1])
            assert np.linalg.norm(jacobian[0], 2) <= bound
    finally:
        for bias, weights in zip(biases, before):
            bias.set_weights(weights)


def test_gradients_reach_the_conditioner_through_the_inverse():
    """By finite differences of one of its weights."""
    block = block_of()
    x, context = pairs()
    y = block(x, context=context)
    weight = block.g.conditioner.trainable_variables[0]

    def loss():
        return tf.reduce_sum(tf.sin(block.inverse(y, context=context).x))

    with tf.GradientTape() as tape:
        value = loss()
    found = tape.gradient(value, weight.value)[1, 2]
    step = np.zeros(weight.shape)
    step[1, 2] = 1e-6
    weight.assign_add(step)
    above = loss()
    weight.assign_sub(2.0 * step)
    np.testing.assert_allclose(found, (above - loss()) / 2e-6, rtol=1e-6)


def test_a_power_series_with_several_probes_repeats_with_its_seed():
    """Its mean over many probes is the exact log-determinant, to the bias of twenty terms."""
    block = block_of(log_det=PowerSeries(terms=20, probes=2000))
    x, context = pairs()
    estimate = block.forward_and_log_det(x, seed=1, context=context)[1]
    np.testing.assert_array_equal(
        estimate, block.forward_and_log_det(x, seed=1, context=context)[1]
    )
    block.log_det = Exact()
    exact = block.forward_and_log_det(x, context=context)[1]
    # The variance of one probe is at most 2 ‖log(I + J)‖² ≤ 2 · 3 · ln²(1 − L).
    error = np.sqrt(6.0 / 2000) * -np.log1p(-block.lipschitz_bound())
    np.testing.assert_allclose(estimate, exact, rtol=0, atol=4.0 * error)


def test_one_context_serves_all_samples_and_every_batch_size_one_trace():
    block = block_of()
    x, context = pairs(batch=7)
    shared = np.repeat(context[:1], 7, 0)
    expected = block.forward_and_log_det(x, context=shared)
    before = compiled._compiled.cache_info().misses
    for found, wanted in zip(block.forward_and_log_det(x, context=context[:1]), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    for batch in (1, 3, 6):
        block.forward_and_log_det(x[:batch], context=context[:batch])
    assert compiled._compiled.cache_info().misses == before


def test_contexts_are_refused_where_none_belong_and_missed_where_one_does():
    conditional, plain = block_of(), layers.ResidualBlock(layers.Contraction.mlp((4,)))
    x, context = pairs()
    with pytest.raises(ValueError, match=r"depends on a context; received none.*\[batch, 5\]"):
        conditional.forward_and_log_det(x)
    with pytest.raises(ValueError, match="depends on a context"):
        conditional(x)
    with pytest.raises(ValueError, match="depends on a context"):
        layers.Stack([conditional]).inverse(x)
    for method in (plain.forward_and_log_det, plain.inverse, plain, layers.Stack([plain])):
        with pytest.raises(ValueError, match="does not depend on a context"):
            method(x, context=context)
    for wrong in (context[:, :4], context[:3], context[0]):
        with pytest.raises(ValueError, match=r"takes context=\[batch, 5\]"):
            conditional.inverse(x, context=wrong)
    with pytest.raises(ValueError, match="share one context"):
        layers.Stack([conditional, block_of(context_shape=(2,))])
    with pytest.raises(ValueError, match="both or neither"):
        layers.Contraction([layers.SpectralDense()], context_shape=(2,))
    with pytest.raises(ValueError, match="vector of features"):
        block_of(conditioner=None, context_shape=(2, 2))
    with pytest.raises(ValueError, match="ConditionalDensityModel"):
        DensityModel([conditional])
    with pytest.raises(ValueError, match="takes conditional layers"):
        ConditionalDensityModel([plain])


# TFP.


def stack_of_two():
    parts = [layers.ActNorm(dtype="float64"), block_of(), layers.ActNorm(dtype="float64")]
    stack = layers.Stack([*parts, block_of()])
    stack.build((None, 3))
    for norm in (parts[0], parts[2]):
        norm.log_scale.assign([0.3, -0.2, 0.1])
    return stack


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_context_passes_a_chain_and_a_distribution_by_bijector_kwargs(traced):
    stack = stack_of_two()
    chain = tfb.Chain([tfb.Scale(tf.constant(2.0, tf.float64)), from_layer(stack, name="flow")])
    base = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), 3)
    flow = tfd.TransformedDistribution(base, tfb.Invert(chain))
    x, context = pairs()

    def log_prob(x, context):
        return flow.log_prob(x, bijector_kwargs={"flow": {"context": context}})

    found = (tf.function(log_prob) if traced else log_prob)(tf.constant(x), tf.constant(context))
    z, log_det = stack.forward_and_log_det(x, context=context)
    normal = tf.reduce_sum(tfd.Normal(tf.zeros_like(z), 1.0).log_prob(2.0 * z), -1)
    np.testing.assert_allclose(found, normal + log_det + 3 * np.log(2.0), rtol=1e-12)
    with pytest.raises(ValueError, match="depends on a context; received none"):
        flow.log_prob(x)


def test_contexts_broadcast_to_the_samples_of_a_batch_of_distributions():
    block = block_of()
    base = tfd.Sample(tfd.Normal(tf.zeros([4], tf.float64), 1.0), 3)
    flow = tfd.TransformedDistribution(base, tfb.Invert(Residual(block)))
    context = pairs()[1]
    assert flow.sample(5, seed=1, bijector_kwargs={"context": context}).shape == (5, 4, 3)
    z = base.sample(5, seed=1)
    samples = flow.bijector.forward(z, context=context)
    for row in range(4):
        back = block(samples[:, row], context=context[row : row + 1])
        np.testing.assert_allclose(back, z[:, row], rtol=0, atol=1e-10)
    log_prob = flow.log_prob(samples, bijector_kwargs={"context": context})
    one = flow.log_prob(samples[:, 2:3], bijector_kwargs={"context": context[2]})
    np.testing.assert_allclose(log_prob[:, 2], one[:, 0], rtol=1e-12)


# The model.


def model_of(features=3):
    shared = keras.Sequential([keras.layers.Dense(features, "tanh")])

    def block():
        g = layers.Contraction.mlp((8,), context_shape=CONTEXT, conditioner=shared)
        return layers.ResidualBlock(g, log_det=Exact())

    return ConditionalDensityModel([layers.ActNorm(), block(), layers.ActNorm(), block()], seed=1)


def test_a_fitted_model_saves_and_loads_with_its_shared_conditioner(tmp_path):
    model = model_of()
    x, context = (each.astype(np.float32) for each in pairs(batch=64))
    model.compile("adam")
    model.fit(x, context, batch_size=32, verbose=0)
    log_prob = model.predict(x, context=context, verbose=0)
    np.testing.assert_allclose(log_prob, model.log_prob(x, context=context), rtol=0, atol=1e-5)
    loss = model.evaluate(x, context, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(loss, -np.mean(log_prob), rtol=1e-5)
    kwargs = {"bijector_kwargs": {"context": context}}
    np.testing.assert_allclose(
        model.distribution().log_prob(x, **kwargs), log_prob, rtol=0, atol=1e-5
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, context=context, verbose=0), log_prob)
    np.testing.assert_array_equal(
        loaded.sample(2, context=context[:3], seed=4), model.sample(2, context=context[:3], seed=4)
    )
    assert loaded.flow.parts[1].g.conditioner is loaded.flow.parts[3].g.conditioner
    assert loaded.lipschitz_bounds() == model.lipschitz_bounds()


def test_samples_of_each_context_are_preimages_at_that_context():
    model = model_of()
    context = pairs()[1].astype(np.float32)
    model.build((None, 3))
    samples = model.sample(6, context=context, seed=2)
    assert samples.shape == (4, 6, 3)
    z = model.prior.sample(24, temperature=1.0, seed=tf.constant([2, 0]))
    for row in range(4):
        back = model.encode(samples[row], context=context[row : row + 1])
        np.testing.assert_allclose(back, z[6 * row : 6 * row + 6], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="count is an integer"):
        model.sample(0, context=context)


def test_one_context_serves_all_predictions():
    model = model_of()
    x, context = (each.astype(np.float32) for each in pairs(batch=5))
    model.build((None, 3))
    found = model.predict(x, context=context[:1], batch_size=2, verbose=0)
    expected = model.log_prob(x, context=np.repeat(context[:1], 5, 0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"takes context=\[batch, 5\]"):
        model.predict(x, context=context[:3], verbose=0)


def test_samples_in_a_graph_take_any_number_of_contexts():
    model = model_of()
    context = pairs()[1].astype(np.float32)
    model.build((None, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, *CONTEXT])])
    def sample(context):
        return model.sample(6, context=context, seed=2)

    assert sample.get_concrete_function().structured_outputs.shape.as_list() == [None, 6, 3]
    for batch in (4, 1):
        expected = model.sample(6, context=context[:batch], seed=2)
        assert expected.shape == (batch, 6, 3)
        np.testing.assert_allclose(sample(context[:batch]), expected, rtol=0, atol=1e-5)


def test_a_data_set_of_pairs_initialises_as_the_arrays_do():
    x, context = (each.astype(np.float32) for each in pairs(batch=6))
    batches = tf.data.Dataset.from_tensor_slices((x, context)).batch(2)
    for first, whole in zip(inputs.first_pairs(batches, None, 4), (x, context)):
        np.testing.assert_array_equal(first, whole[:4])
    for first, whole in zip(inputs.first_pairs(x, context, 8, held_out=0.5), (x, context)):
        np.testing.assert_array_equal(first, whole[:3])


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Dropout(0.1),
        keras.layers.SpatialDropout1D(0.1),
        keras.layers.GaussianNoise(0.1),
        keras.layers.BatchNormalization(),
        keras.layers.GRU(2, recurrent_dropout=0.1),
        keras.layers.Dense(2, kernel_regularizer="l2"),
        keras.layers.Dense(2, activity_regularizer="l2"),
    ],
    ids=lambda layer: layer.name,
)
def test_conditioners_that_act_in_training_alone_are_refused_unless_frozen(layer):
    network = keras.Sequential([keras.layers.Reshape((1, 5)), layer, keras.layers.Flatten()])
    g = layers.Contraction.mlp((4,), context_shape=CONTEXT, conditioner=network)
    model = ConditionalDensityModel([layers.ResidualBlock(g)])
    model.compile("adam")
    x, context = (each.astype(np.float32) for each in pairs())
    with pytest.raises(ValueError, match=f"inference mode.*received .*{layer.name}"):
        model.fit(x, context, verbose=0)
    network.trainable = False
    model.make_train_function()


def test_other_conditioners_are_taken():
    network = keras.Sequential(
        [keras.layers.Reshape((1, 5)), keras.layers.GRU(4), keras.layers.LayerNormalization()]
    )
    g = layers.Contraction.mlp((4,), context_shape=CONTEXT, conditioner=network)
    model = ConditionalDensityModel([layers.ResidualBlock(g)])
    model.compile("adam")
    model.make_train_function()


def test_a_conditioner_is_in_training_mode_in_a_keras_call_that_is():
    network = keras.Sequential([keras.layers.BatchNormalization(momentum=0.5)])
    block = block_of(conditioner=network)
    symbols = keras.Input((3,)), keras.Input(CONTEXT)
    model = keras.Model(symbols, block(symbols[0], context=symbols[1]))
    x, context = pairs()
    block.forward_and_log_det(x, context=context)
    model([x, context])
    np.testing.assert_array_equal(network.layers[0].moving_mean, 0.0)
    model([x, context], training=True)
    np.testing.assert_allclose(network.layers[0].moving_mean, context.mean(0) / 2.0, rtol=1e-5)


def test_fitting_without_contexts_is_refused():
    model = model_of()
    model.compile("adam")
    x = pairs()[0]
    for data in (x, tf.data.Dataset.from_tensor_slices(x).batch(2)):
        with pytest.raises(ValueError, match="pairs.*received no contexts"):
            model.fit(data)
    with pytest.raises(ValueError, match="pairs.*received no contexts"):
        model.train_on_batch(x)


def linear_gaussian(count, seed):
    """``θ ~ N(0, I)``, ``c | θ ~ N(A θ, σ² I)``: pairs, the posterior's mean map, its covariance.

    ``Σ = (I + AᵀA/σ²)⁻¹``, mean ``Σ Aᵀ c / σ²``.
    """
    matrix, noise = np.array([[1.0, 0.5], [-0.7, 1.2], [0.3, 0.8]]), 0.5
    random = np.random.default_rng(seed)
    theta = random.normal(size=(count, 2))
    observed = theta @ matrix.T + noise * random.normal(size=(count, 3))
    covariance = np.linalg.inv(np.eye(2) + matrix.T @ matrix / noise**2)
    return theta, observed, matrix @ covariance / noise**2, covariance


@pytest.mark.slow
def test_the_posterior_of_a_linear_gaussian_problem_is_the_closed_form():
    """Mean and covariance within 2 %, by 100,000 samples at each of four observations."""
    theta, observed, to_mean, covariance = linear_gaussian(300_000, seed=0)

    def block():
        g = layers.Contraction.mlp((16,), "softplus", coeff=0.95, context_shape=(3,))
        return layers.ResidualBlock(g, log_det=Exact())

    norms = [layers.ActNorm() for _ in range(3)]
    model = ConditionalDensityModel([norms[0], block(), norms[1], block(), norms[2]], seed=0)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-2, 900)))
    model.fit(theta, observed, batch_size=1000, epochs=3, verbose=0)
    known = linear_gaussian(4, seed=1)[1]
    samples = model.sample(100_000, context=known, seed=2).numpy().astype(np.float64)
    for mine, expected in zip(samples, known @ to_mean):
        assert np.linalg.norm(mine.mean(0) - expected) < 0.02 * np.linalg.norm(expected)
        difference = np.linalg.norm(np.cov(mine.T) - covariance)
        assert difference < 0.02 * np.linalg.norm(covariance)


class Moved(layers.ClosedForm):
    """``y = 2 x + c``: a layer as a user would write it."""

    context_shape = (3,)

    def transform(self, x, seed, context):
        log_det = x.shape[-1] * tf.math.log(tf.constant(2.0, x.dtype))
        return 2.0 * x + context, tf.fill(tf.shape(x)[:1], log_det)

    def closed_form(self, y, context):
        return 0.5 * (y - context), y, context

    def inverse_lipschitz_bound(self):
        return 0.5


def test_an_inverse_in_closed_form_may_depend_on_the_context():
    x, context = pairs()
    context = tf.constant(context[:, :3])
    stack = layers.Stack([Moved(dtype="float64")])
    y, log_det = stack.forward_and_log_det(x, context=context)
    np.testing.assert_array_equal(stack(x, context=context), y)
    np.testing.assert_allclose(log_det, 3.0 * np.log(2.0), rtol=1e-12)
    found = stack.inverse(y, context=context)
    np.testing.assert_allclose(found.x, x, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(stack.preimage(y, context=context), found.x)
    errors, bounds = np.linalg.norm(found.x - x, axis=1), found.error_bound.numpy()
    assert (errors <= bounds).all() and (bounds < 1e-12).all()
