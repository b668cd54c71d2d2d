"""Batches that several threads divide, against the batch as a whole."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers, models
from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import compiled, threads
from iresnet_tf.numerics.log_det import Exact, PowerSeries, RussianRoulette

BLOCKS = {
    "series": ("conv", PowerSeries(5, probes=2), False),
    "series recomputed": ("conv", PowerSeries(5, probes=2), True),
    "roulette": ("dense", RussianRoulette(), False),
    "exact recomputed": ("dense", Exact(), True),
}


@pytest.fixture
def in_parts(monkeypatch):
    """Returns a function that sets the number of parts of a batch."""

    return lambda count: monkeypatch.setattr(compiled, "number_of_parts", lambda: count)


@pytest.fixture
def counts(monkeypatch):
    """Returns the list of the numbers of parts of all batches."""
    counts = []

    def map_parts(function, x, count):
        counts.append(count)
        return threads.map_parts(function, x, count)

    monkeypatch.setattr(compiled, "map_parts", map_parts)
    return counts


def test_every_part_gets_its_rows_and_their_place():
    x = tf.reshape(tf.range(14.0), [7, 2])
    seen = []

    def double(rows, part):
        (rows,) = rows
        seen.append((len(rows), *map(int, part)))
        return {"twice": 2.0 * rows, "sum": tf.reduce_sum(rows, 1)}

    found = threads.map_parts(double, (x,), 3)
    assert seen == [(2, 0, 2, 7), (2, 2, 4, 7), (3, 4, 7, 7)]
    np.testing.assert_array_equal(found["twice"], 2.0 * x)
    np.testing.assert_array_equal(found["sum"], [1, 5, 9, 13, 17, 21, 25])


@pytest.mark.parametrize("examples", [1, 2])
def test_no_part_is_empty(examples):
    x = tf.random.normal([examples, 2])

    def double(rows, part):
        (rows,) = rows
        assert len(rows) == 1 and int(part.last - part.first) == 1
        return 2.0 * rows

    with tf.GradientTape() as tape:
        tape.watch(x)
        found = threads.map_parts(double, (x,), 3)
        total = tf.reduce_sum(found * x)
    np.testing.assert_array_equal(found, 2.0 * x)
    np.testing.assert_allclose(tape.gradient(total, x), 4.0 * x, rtol=1e-6)


def test_a_block_is_taken_in_parts_but_for_layers_that_are_not_known(in_parts, counts):
    in_parts(5)
    layers.ResidualBlock(layers.Contraction.mlp((7,)))(tf.ones([6, 3]))
    assert counts == [5]
    foreign = layers.Contraction([keras.layers.Dense(3)], lipschitz=0.5)
    layers.ResidualBlock(foreign)(tf.ones([6, 3]))
    assert counts == [5]


def figures(block, x, **context):
    """Returns all results of a block for a batch, and their gradients."""
    variables = [variable.value for variable in block.g.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y, log_det = block.forward_and_log_det(x, seed=3, **context)
        likelihood = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(tf.square(log_det))
        image = block(x, **context)
        inverse = block.inverse(x, **context)
        scalars = [likelihood, tf.reduce_sum(tf.sin(image)), tf.reduce_sum(tf.sin(inverse.x))]
    gradients = [tape.gradient(each, [x, *variables]) for each in scalars]
    return [y, log_det, image, *inverse, *tf.nest.flatten(gradients)]


def require_equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        # Sums over the batch have another order.
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", BLOCKS)
def test_the_figures_are_those_of_the_whole(in_parts, contraction, batch_for, case):
    kind, estimator, recompute = BLOCKS[case]
    block = layers.ResidualBlock(contraction(kind), estimator, recompute=recompute)
    batches = [batch_for(kind, size) for size in (2, 7)]
    in_parts(1)
    whole = [figures(block, x) for x in batches]
    in_parts(3)
    for x, wanted in zip(batches, whole):
        require_equal(figures(block, x), wanted)


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_batch_of_unknown_size_may_have_fewer_samples_than_parts(in_parts, size):
    g = layers.Contraction.conv(16, (3, 1, 3))
    block = layers.ResidualBlock(g, PowerSeries(3))
    x = tf.constant(np.random.default_rng(0).normal(size=(size, 8, 8, 4)), tf.float32)
    block.build(x.shape)
    in_parts(1)
    whole = figures(block, x)
    in_parts(4)
    specification = tf.TensorSpec([None, *x.shape[1:]], x.dtype)
    parted = tf.function(functools.partial(figures, block), input_signature=[specification])(x)
    for one, other in zip(parted, whole, strict=True):
        if one.dtype == x.dtype:
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_part_of_a_larger_batch_is_parted_again(in_parts, contraction, batch_for):
    block = layers.ResidualBlock(contraction("dense"), PowerSeries(4))
    x = batch_for("dense", 8)
    in_parts(1)
    whole = block.forward_and_log_det(x, seed=3)[1]
    in_parts(2)
    seed = random.placed(random.as_seed(3), 5, 8)
    np.testing.assert_allclose(
        block.forward_and_log_det(x[5:], seed=seed)[1], whole[5:], rtol=1e-12
    )


def test_what_is_exported_is_not_parted(counts, monkeypatch, tmp_path):
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 1)
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 3)
    g = layers.Contraction.mlp((9,))
    model = models.DensityModel([layers.ResidualBlock(g, PowerSeries(2))])
    model.log_prob(np.zeros((4, 3), "float32"))
    assert set(counts) == {3}
    counts.clear()
    model.export(tmp_path / "served")
    assert set(counts) == {1}
    assert threads.number_of_parts() == 3


@pytest.mark.parametrize("rows", [1, 5])
def test_every_sample_keeps_its_context(in_parts, rows):
    g = layers.Contraction.mlp((8, 4), context_shape=(2,), dtype="float64")
    block = layers.ResidualBlock(g, PowerSeries(4))
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(5, 3)))
    context = tf.constant(random.normal(size=(rows, 2)))
    in_parts(1)
    block.forward_and_log_det(x, context=context)
    for variable in g.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    layers.refresh(g)
    whole = figures(block, x, context=context)
    assert np.ptp(whole[0] - x) > 0.01
    in_parts(2)
    require_equal(figures(block, x, context=context), whole)


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "XLA"]
)
def test_training_leaves_the_same_weights(in_parts, jit_compile):
    x = np.random.default_rng(0).integers(0, 4, (14, 4, 4, 1)).astype(float)

    def trained(count):
        in_parts(count)
        keras.utils.set_random_seed(1)
        g = [layers.Contraction.conv(4, (3, 1, 3), dtype="float64") for _ in range(2)]
        stack = [layers.ResidualBlock(each, PowerSeries(3)) for each in g]
        noise = layers.Dequantize(4, dtype="float64")
        model = models.DensityModel(stack, preprocessing=[noise], seed=0, dtype="float64")
        model.compile(keras.optimizers.SGD(0.01), jit_compile=jit_compile)
        model.fit(x, batch_size=8, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    for one, other in zip(trained(1), trained(3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def test_parts_are_as_many_as_the_threads_that_run_operations_beside_each_other(monkeypatch):
    told = {"intra": 1, "inter": 5}
    gpus = []
    threading = tf.config.threading
    for kind in told:
        name = f"get_{kind}_op_parallelism_threads"
        monkeypatch.setattr(threading, name, lambda kind=kind: told[kind])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    assert threads.number_of_parts() == 5
    told["inter"] = 100
    assert threads.number_of_parts() == threads.MAX_PARTS
    told["inter"] = 0
    monkeypatch.setattr(threads, "cores", lambda: 6)
    assert threads.number_of_parts() == 6
    gpus.append("/GPU:0")
    assert threads.number_of_parts() == 1
    gpus.clear()
    for several in (0, 2):
        told["intra"] = several
        assert threads.number_of_parts() == 1
