"""Threads that use a model at the same time, against the same calls one after the other."""

import concurrent.futures
import threading

import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf as irn
from iresnet_tf.analysis import evaluate
from iresnet_tf.analysis.likelihood import negative_log_likelihoods
from iresnet_tf.layers.blocks import estimator_replaced, residual_blocks


@pytest.fixture
def model():
    """A model whose series of one term is far from the exact log-determinant."""
    blocks = [
        irn.layers.ResidualBlock(
            irn.layers.Contraction.mlp((16,), coeff=0.9), irn.log_det.PowerSeries(terms=1)
        )
        for _ in range(2)
    ]
    model = irn.models.DensityModel(blocks)
    model.build((None, 3))
    for block in blocks:
        for variable in block.g.trainable_variables:
            values = np.random.default_rng(0).normal(size=variable.shape)
            variable.assign(5.0 * values)
    irn.layers.refresh(model)
    return model


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=(16, 3)).astype("float32")


def while_repeated(function, other):
    """Returns the results of ``other``, called in a thread for as long as ``function`` runs."""
    found, begun, ended = [], threading.Event(), threading.Event()

    def repeat():
        while not ended.is_set() or len(found) < 3:
            found.append(other())
            begun.set()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        repeating = pool.submit(repeat)
        assert begun.wait(60)
        try:
            result = function()
        finally:
            ended.set()
        repeating.result()
    return result, found


def test_a_model_keeps_its_numbers_while_another_thread_evaluates_it(model, x):
    def measure():
        options = {"estimator": irn.log_det.Exact(), "passes": 3, "batch_size": 4}
        figures = evaluate(model, x, **options).as_dict()
        return figures, negative_log_likelihoods(model, x, **options).tolist()

    def use():
        return model.log_prob(x, seed=7).numpy()

    alone, wanted = measure(), use()
    # The two estimators differ by far more than rounding.
    assert np.abs(wanted + np.asarray(alone[1][0])).max() > 1e-2
    together, found = while_repeated(measure, use)
    assert together == alone
    for each in found:
        np.testing.assert_array_equal(each, wanted)


def test_a_replaced_estimator_is_that_of_its_thread_alone(model):
    exact, series = irn.log_det.Exact(), irn.log_det.PowerSeries(3)
    (first, *_) = residual_blocks(model.flow)
    other = irn.layers.ResidualBlock(irn.layers.Contraction.mlp((4,)))
    own, of_other = first.log_det, other.log_det
    with concurrent.futures.ThreadPoolExecutor() as pool, estimator_replaced(model.flow, exact):
        assert first.log_det == exact and other.log_det is of_other
        assert pool.submit(lambda: first.log_det).result() is own
        with estimator_replaced(first, series):
            assert first.log_det == series
        assert first.log_det == exact
    assert first.log_det is own


@pytest.mark.parametrize("draw, calls", [("seed", 100), ("log_prob", 8), ("sample", 8)])
def test_threads_draw_different_seeds(model, x, draw, calls):
    """As many as the same number of calls one after the other."""
    threads = 8
    call = {
        "seed": model.flow._next_seed,
        "log_prob": lambda: model.log_prob(x),
        "sample": lambda: model.sample(2),
    }[draw]
    call()
    start, begin = int(model.flow.seed_state.value[1]), threading.Barrier(threads)

    def repeat():
        begin.wait()
        return [call().numpy().tobytes() for _ in range(calls)]

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        found = [pool.submit(repeat) for _ in range(threads)]
        drawn = [each for future in found for each in future.result()]
    assert len(set(drawn)) == threads * calls
    state = tf.convert_to_tensor(model.flow.seed_state)
    assert int(state[1]) == start + threads * calls
