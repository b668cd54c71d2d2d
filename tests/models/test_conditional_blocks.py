"""Tests that conditional blocks are exact in x for every context, also as TFP bijectors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conditional_examples import SHAPES, block_of, pairs

from iresnet_tf import layers
from iresnet_tf.bijectors import Residual, from_layer
from iresnet_tf.internals import all_layers
from iresnet_tf.models import ConditionalDensityModel, DensityModel
from iresnet_tf.numerics.execution import compiled
from iresnet_tf.numerics.log_det import Exact, PowerSeries

tfd, tfb = tfp.distributions, tfp.bijectors


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
    """The bound holds with the context's weights, and the contexts, a hundred times as large."""
    kind, block = case
    x, context = pairs(kind)
    g, bound = block.g, block.lipschitz_bound()
    biases = [each for each in all_layers(g) if isinstance(each, layers.ContextBias)]
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
    """The gradients are compared with finite differences of a weight."""
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
    """The mean over many probes equals the exact log-determinant, to the bias of twenty terms."""
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
    with pytest.raises(ValueError, match="both ContextBias layers and a context_shape"):
        layers.Contraction([layers.SpectralDense()], context_shape=(2,))
    with pytest.raises(ValueError, match="vector of features"):
        block_of(conditioner=None, context_shape=(2, 2))
    with pytest.raises(ValueError, match="ConditionalDensityModel"):
        DensityModel([conditional])
    with pytest.raises(ValueError, match="takes conditional layers"):
        ConditionalDensityModel([plain])


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


class Moved(layers.ClosedForm):
    """``y = 2 x + c``: a conditional layer that a user might write."""

    context_shape = (3,)

    def _forward_and_log_det(self, x, *, seed, context):
        log_det = x.shape[-1] * tf.math.log(tf.constant(2.0, x.dtype))
        return 2.0 * x + context, tf.fill(tf.shape(x)[:1], log_det)

    def _closed_form(self, y, *, context):
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
    options = stack._inverse_options(y, context=context)
    np.testing.assert_array_equal(stack._inverse_point(y, options), found.x)
    errors, bounds = np.linalg.norm(found.x - x, axis=1), found.error_bound.numpy()
    assert (errors <= bounds).all() and (bounds < 1e-12).all()
