"""Compares the fused optimizers with those of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.training import assembly, optimizers, presets

NAMES = ["Adam", "Adamax"]

# Keras rounds its constants to float32, which is exact for sums of powers of two.
EXACT = {"beta_1": 1.0 - 2.0**-3, "beta_2": 1.0 - 2.0**-10, "epsilon": 2.0**-20}
OPTIONS = {
    "plain": EXACT,
    "clipped, decaying, averaged": {
        "learning_rate": keras.optimizers.schedules.ExponentialDecay(0.125, 2, 0.5),
        **EXACT,
        "weight_decay": 0.125,
        "global_clipnorm": 1.0,
        "use_ema": True,
        "ema_momentum": 0.9,
    },
}


def stepped(kind, dtype, options):
    """Returns variables and averages after five steps on ``Σ i v_i²``; one gradient is ``None``."""
    variables = [
        keras.Variable(np.linspace(-1.0, 2.0, size), dtype=dtype, name=f"v{size}")
        for size in (3, 1, 7)
    ]
    optimizer = kind(**options)
    optimizer.build(variables)

    @tf.function
    def step():
        weights = [np.arange(1.0, size + 1.0) for size in (3, 1)]
        gradients = [2.0 * tf.cast(w, dtype) * v.value for w, v in zip(weights, variables)]
        optimizer.apply_gradients(zip([*gradients, None], variables))

    for _ in range(5):
        step()
    return [np.asarray(each) for each in [*variables, *optimizer.variables]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype,tolerance", [("float64", 1e-14), ("float32", 1e-6)])
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_the_steps_are_those_of_keras(dtype, tolerance, options, name):
    ours = stepped(getattr(optimizers, name), dtype, OPTIONS[options])
    theirs = stepped(getattr(keras.optimizers, name), dtype, OPTIONS[options])
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_saving(name):
    optimizer = getattr(optimizers, name)(0.1, beta_2=0.9)
    config = keras.optimizers.serialize(optimizer)
    assert keras.optimizers.deserialize(config).get_config() == optimizer.get_config()


@pytest.mark.parametrize("name", NAMES)
def test_a_sparse_gradient_is_the_dense_one_that_it_stands_for(name):
    results = []
    for kind, as_dense in ((optimizers, False), (keras.optimizers, True)):
        variable = keras.Variable(np.ones((4, 2)), dtype="float64")
        optimizer = getattr(kind, name)(**EXACT)
        optimizer.build([variable])
        gradient = tf.IndexedSlices(tf.constant([[1.0], [2.0]] * tf.ones(2)), [1, 1], [4, 2])
        gradient = tf.convert_to_tensor(gradient) if as_dense else gradient
        optimizer.apply([gradient], [variable])
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_refused(name):
    variable = keras.Variable(np.ones(3), dtype="bfloat16")
    optimizer = getattr(optimizers, name)()
    optimizer.build([variable])
    with pytest.raises(ValueError, match=f"received bfloat16. Take keras.optimizers.{name}"):
        optimizer.apply([tf.ones(3, tf.bfloat16)], [variable])


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="no amsgrad: take keras.optimizers.Adam"):
        optimizers.Adam(amsgrad=True)


def test_the_average_reaches_back_over_at_most_a_tenth_of_the_run():
    for name in presets.names():
        preset = presets.get(name)
        if preset.optimizer.ema is not None:
            # No run of its full length is shortened.
            assert assembly.build_optimizer(preset).ema_momentum == preset.optimizer.ema
    short = presets.get("cifar10-classifier-small").with_length(steps=1400)
    assert 1.0 / (1.0 - assembly.build_optimizer(short).ema_momentum) == pytest.approx(140.0)
    tiny = presets.get("cifar10-classifier-small").with_length(steps=6)
    assert assembly.build_optimizer(tiny).ema_momentum == pytest.approx(0.9)
