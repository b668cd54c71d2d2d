"""Log-determinants of a random share of a batch, against those of all samples."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers
from iresnet_tf.numerics import random, residual_map
from iresnet_tf.numerics.axes import event_axes
from iresnet_tf.numerics.execution import compiled
from iresnet_tf.numerics.log_det import Exact, RussianRoulette
from iresnet_tf.numerics.maps.share import Share

SIZES = [(1, 0.25, 1), (2, 0.75, 2), (5, 0.25, 1), (7, 0.25, 2), (7, 0.5, 4), (8, 0.25, 2)]
"""Batch size, share and ``max(1, round(share · size))``."""


@pytest.fixture
def every_shift(monkeypatch):
    """Returns a function that makes a call for each of the equally likely shifts of a batch."""

    def every_shift(batch, call):
        # A variable, because a compiled function contains the replaced draw.
        place = tf.Variable(0.0, dtype=tf.float64)
        monkeypatch.setattr(random, "uniform", lambda *_: place.read_value())
        for shift in range(batch):
            place.assign((shift + 0.5) / batch)
            yield call()

    compiled._compiled_on_batch.cache_clear()
    yield every_shift
    compiled._compiled_on_batch.cache_clear()


@pytest.mark.parametrize("known", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("batch,share,count", SIZES)
def test_every_sample_is_chosen_by_as_many_shifts(batch, share, count, known, every_shift):
    size = batch if known else tf.constant(batch)
    rows = 10.0 * np.arange(2.0 * batch).reshape(batch, 2)

    def chosen():
        samples = Share(share, size, tf.constant([1, 2]))
        ordered = samples.ordered(rows)
        first = samples.chosen.of_rows(ordered).numpy()
        assert len(first) == count
        np.testing.assert_array_equal(ordered[:count], first)
        np.testing.assert_array_equal(samples.restored(ordered), rows)
        np.testing.assert_array_equal(samples.order.of_rows(rows), ordered)
        np.testing.assert_array_equal(samples.order.of_rows(rows[:1]), rows[:1].repeat(batch, 0))
        # A weighted one is B/k for a chosen sample, so its mean over the shifts is 1.
        weights = samples.weighted(tf.ones(count, tf.float64)).numpy()
        np.testing.assert_array_equal(np.flatnonzero(weights), np.sort(first[:, 0] / 20.0))
        np.testing.assert_allclose(weights[weights > 0.0], batch / count)
        return weights

    np.testing.assert_allclose(np.mean([*every_shift(batch, chosen)], 0), 1.0, rtol=1e-14)


def test_every_shift_is_equally_likely():
    draws, batch = 4000, 8

    @tf.function
    def first(seed):
        samples = Share(0.25, batch, tf.stack([seed, 5]))
        return samples.order.index[0]

    seeds = tf.range(draws)
    found = tf.function(lambda: tf.map_fn(first, seeds, fn_output_signature=tf.int32))().numpy()
    expected = draws / batch
    # χ² with 7 degrees of freedom exceeds 24.3 with probability 0.001.
    assert np.sum((np.bincount(found, minlength=batch) - expected) ** 2 / expected) < 24.3


@pytest.mark.parametrize(
    "kind,batch,recompute",
    [("dense", 5, False), ("conv", 5, True), ("conv", 1, False), ("dense", 1, True)],
)
def test_the_mean_over_the_shifts_is_the_exact_gradient(
    kind, batch, recompute, contraction, batch_for, every_shift
):
    """The number of chosen samples, 2 of 5, does not divide the batch."""
    g, x = contraction(kind), batch_for(kind, batch)
    weights = np.random.default_rng(5).uniform(0.5, 2.0, batch)

    def differentiated(share=0.4):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, log_det = residual_map.transform(
                g.bind(), x, Exact(), tf.constant([1, 2]), recompute=recompute, share=share
            )
            loss = tf.reduce_sum(weights * (log_det + tf.reduce_sum(tf.sin(y), event_axes(x))))
        watched = [x, *(variable.value for variable in g.trainable_variables)]
        return y, log_det, *tape.gradient(loss, watched)

    expected = differentiated(1.0)
    found = [*every_shift(batch, differentiated)]
    for y, log_det, *_ in found:
        np.testing.assert_allclose(y, expected[0], rtol=1e-13)
        assert np.count_nonzero(log_det) == max(1, round(0.4 * batch))
    for results, exact in zip(zip(*found), expected, strict=True):
        np.testing.assert_allclose(np.mean(results, 0), exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "parts,counts,shared,known",
    [(1, 3, False, True), (1, 3, True, False), (2, 1 + 2, False, True), (3, 3, True, True)],
)
def test_parts_of_a_batch_and_contexts_are_those_of_their_samples(
    parts, counts, shared, known, monkeypatch
):
    """Seven samples in two parts are 3 + 4, of which a share of 0.4 is 1 + 2."""
    monkeypatch.setattr(compiled, "number_of_parts", lambda: parts)
    g = layers.Contraction.mlp((4,), context_shape=(2,), dtype="float64")
    block = layers.ResidualBlock(g, Exact())
    numbers = np.random.default_rng(0)
    x, context = numbers.normal(size=(7, 3)), numbers.normal(size=(1 if shared else 7, 2))
    block.build((None, 3))
    share = 0.4

    def transformed(x, context, seed):
        return residual_map.transform(g.bind(context), x, Exact(), seed, share=share)

    if not known:
        specs = [tf.TensorSpec([None, size], tf.float64) for size in (3, 2)]
        specs += [tf.TensorSpec([2], tf.int32)]
        transformed = tf.function(transformed, input_signature=specs)
    expected = block.forward_and_log_det(x, context=context)
    sizes = {1: [7], 2: [3, 4], 3: [2, 2, 3]}[parts]
    weights = [np.full(size, size / max(1, round(share * size))) for size in sizes]
    assert sum(max(1, round(share * size)) for size in sizes) == counts
    for seed in ([1, 2], [3, 4]):
        y, log_det = transformed(x, context, tf.constant(seed))
        np.testing.assert_allclose(y, expected[0], rtol=1e-13)
        kept = log_det.numpy() != 0.0
        assert kept.sum() == counts
        scaled = np.concatenate(weights) * expected[1]
        np.testing.assert_allclose(log_det[kept], scaled[kept], rtol=1e-12)


def test_roulette_of_a_share_is_unbiased(contraction, batch_for):
    """The weight of each of 1,500 draws is 5/2; the gradients are those of a weighted sum."""
    g, x = contraction("dense", "lipswish", coeff=0.7), batch_for("dense", 5)
    weights = tf.constant(np.random.default_rng(5).uniform(0.5, 2.0, 5))

    def drawn(seed, estimator=None, share=0.4):
        variables = [variable.value for variable in g.trainable_variables]
        with tf.GradientTape() as tape:
            _, log_det = residual_map.transform(
                g.bind(), x, estimator or RussianRoulette(), seed, lipschitz=0.343, share=share
            )
            total = tf.reduce_sum(weights * log_det)
        found = tape.gradient(total, variables, unconnected_gradients="zero")
        return tf.concat([[total], *(tf.reshape(each, [-1]) for each in found)], 0)

    exact = drawn(tf.constant([0, 0]), Exact(), 1.0)
    seeds = tf.stack([tf.range(1500), tf.fill([1500], 7)], 1)
    loop = tf.function(lambda: tf.map_fn(drawn, seeds, fn_output_signature=tf.float64))
    draws = loop().numpy()
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - exact) <= 4.0 * error + 1e-12).all()
