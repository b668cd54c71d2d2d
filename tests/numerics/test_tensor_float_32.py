"""Tests that float32 numbers are never multiplied in TF32, in which a GPU would round them.

There is no GPU here, so the tests pretend that TensorFlow sees one.
"""

import importlib

import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf
from iresnet_tf import analysis, bijectors, layers, models
from iresnet_tf.layers import Contraction, ResidualBlock
from iresnet_tf.numerics.execution import tensor_float_32
from iresnet_tf.numerics.execution.tensor_float_32 import TensorFloat32Error
from iresnet_tf.numerics.log_det import Exact

switch = tf.config.experimental.enable_tensor_float_32_execution
is_on = tf.config.experimental.tensor_float_32_execution_enabled


@pytest.fixture
def gpu(monkeypatch):
    """Makes TensorFlow report a GPU; leaves TF32 off afterwards."""
    devices = tf.config.get_visible_devices

    def with_gpu(kind=None):
        return ["GPU:0"] if kind == "GPU" else devices(kind)

    monkeypatch.setattr(tf.config, "get_visible_devices", with_gpu)
    yield
    switch(False)


def block_of(dtype="float32"):
    block = ResidualBlock(Contraction.mlp((4,), dtype=dtype), Exact())
    block.build((None, 2))
    return block


def points(dtype="float32"):
    return tf.constant(np.random.default_rng(0).normal(size=(6, 2)), dtype)


@pytest.fixture(scope="module")
def model():
    model = models.DensityModel([block_of()], seed=0)
    model.compile("sgd")
    model.fit(points(), verbose=0)
    model.evaluate(points(), verbose=0)
    model.predict(points(), verbose=0)
    return model


def test_importing_the_package_switches_it_off():
    switch(True)
    importlib.reload(iresnet_tf)
    assert not is_on()


# Each takes the fitted model.  Its steps of fit, evaluate and predict were traced without TF32.
REFUSED = {
    "inverse": lambda model: model.flow.inverse(points()),
    "decode": lambda model: model.decode(points()),
    "sample": lambda model: model.sample(2),
    "encode": lambda model: model.encode(points()),
    "log_prob": lambda model: model.log_prob(points()),
    "distribution": lambda model: model.distribution().log_prob(points()),
    "bijector": lambda model: bijectors.Residual(model.flow.parts[0]).inverse(points()),
    "traced inverse": lambda model: tf.function(model.decode, autograph=False)(points()),
    "fit": lambda model: model.fit(points(), verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(points()),
    "evaluate": lambda model: model.evaluate(points(), verbose=0),
    "test_on_batch": lambda model: model.test_on_batch(points()),
    "predict": lambda model: model.predict(points(), verbose=0),
    "predict_on_batch": lambda model: model.predict_on_batch(points()),
    "certify": analysis.certify,
    "lipschitz_bounds": lambda model: model.lipschitz_bounds(),
    "refresh": layers.refresh,
    "evaluation": lambda model: analysis.evaluate(model, points().numpy()),
    "reconstruction": lambda model: analysis.evaluation.reconstruction(model, points().numpy()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_float32_is_refused_while_a_gpu_multiplies_in_tf32(name, model, gpu):
    REFUSED[name](model)
    switch(True)
    with pytest.raises(TensorFloat32Error, match=r"enable_tensor_float_32_execution\(False\)"):
        REFUSED[name](model)
    switch(False)
    REFUSED[name](model)


def test_nothing_is_refused_without_a_gpu(model):
    switch(True)
    try:
        for name in ("inverse", "log_prob", "evaluate", "predict", "certify"):
            REFUSED[name](model)
    finally:
        switch(False)


def test_float64_is_never_multiplied_in_tf32(gpu):
    switch(True)
    block = block_of("float64")
    block.inverse(block(points("float64")))
    assert block.lipschitz_bound() < 1.0


def test_a_measurement_may_train_in_tf32_but_not_invert(model, gpu):
    with tensor_float_32.measured():
        assert is_on()
        model.train_on_batch(points())
        for name in ("inverse", "evaluate", "predict", "certify", "refresh"):
            with pytest.raises(TensorFloat32Error):
                REFUSED[name](model)
    assert not is_on()
    REFUSED["inverse"](model)


def test_xla_multiplies_in_float32():
    """XLA decides when it compiles: only with TF32 off it asks for products of full precision."""
    block = block_of()

    def compiled():
        function = tf.function(block, autograph=False, jit_compile=True)
        text = function.experimental_get_compiler_ir(points())(stage="hlo")
        return [line for line in text.splitlines() if " dot(" in line]

    products = compiled()
    assert products and all("operand_precision={highest,highest}" in line for line in products)
    switch(True)
    try:
        assert not any("highest" in line for line in compiled())
    finally:
        switch(False)
