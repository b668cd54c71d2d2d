"""Blocks that recompute in the backward pass, against blocks that store intermediate values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers, models
from iresnet_tf.numerics.log_det import Coloured, Exact, Krylov, PowerSeries, RussianRoulette

ESTIMATORS = [
    *(Exact(), PowerSeries(5, probes=2), RussianRoulette(), Krylov(3, probes=2)),
    Coloured(PowerSeries(5)),
]


def gradients(block, x, function):
    variables = block.g.trainable_variables
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = function(block, x)
    return total, tape.gradient(total, [x, *(v.value for v in variables)])


def likelihood(block, x):
    y, log_det = block.forward_and_log_det(x, seed=3)
    return tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(tf.square(log_det))


def image(block, x):
    return tf.reduce_sum(tf.sin(block(x)))


@pytest.mark.parametrize(
    "kind, compiled",
    [
        *(("dense", False), ("conv", False), ("dense", True)),
        pytest.param("conv", True, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
def test_the_gradients_are_the_same(contraction, batch_for, estimator, kind, compiled):
    g, x = contraction(kind, "lipswish"), batch_for(kind, 3)
    take = tf.function(gradients) if compiled else gradients
    blocks = [layers.ResidualBlock(g, estimator, recompute=each) for each in (False, True)]
    for block in blocks:
        block.build(x.shape)
    for function in (likelihood, image):
        kept, again = (take(block, x, function) for block in blocks)
        np.testing.assert_allclose(kept[0], again[0], rtol=1e-13)
        for first, second in zip(kept[1], again[1], strict=True):
            np.testing.assert_allclose(first, second, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [models.DensityModel, models.Classifier])
def test_training_leaves_the_same_weights(kind):
    x = np.random.default_rng(0).normal(size=(32, 4, 4, 2))
    trained = []
    for recompute in (False, True):
        keras.utils.set_random_seed(1)
        stack = []
        for _ in range(2):
            g = layers.Contraction.conv(4, (3, 1, 3), dtype="float64")
            block = layers.ResidualBlock(g, PowerSeries(3), recompute=recompute)
            stack += [layers.ActNorm(dtype="float64"), block]
        options = {"classes": 2} if kind is models.Classifier else {}
        model = kind(stack, seed=0, dtype="float64", **options)
        model.compile(keras.optimizers.SGD(0.01))
        y = np.arange(32) % 2 if options else None
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        trained.append(model.get_weights())
    for first, second in zip(*trained, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-8, atol=1e-10)


def test_it_is_saved():
    block = layers.ResidualBlock(layers.Contraction.mlp((4,)), recompute=True)
    config = keras.saving.serialize_keras_object(block)
    assert keras.saving.deserialize_keras_object(config).recompute


def test_unknown_layers_are_refused():
    g = layers.Contraction([keras.layers.Dense(3)], lipschitz=0.5)
    with pytest.raises(ValueError, match="Keras layers of other packages"):
        layers.ResidualBlock(g, recompute=True)(tf.ones([2, 3]))
