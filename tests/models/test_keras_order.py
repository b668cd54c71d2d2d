"""Keras's methods take Keras's arguments in Keras's order, and say what they cannot do."""

import keras
import numpy as np
import pytest

import iresnet_tf as irn

POINTS = np.random.default_rng(0).normal(size=(96, 2)).astype("float32")
CLASSES = np.arange(96) % 3


def layers_of(dtype="float32"):
    g = irn.layers.Contraction.mlp((4,), dtype=dtype)
    return [irn.layers.ActNorm(dtype=dtype), irn.layers.ResidualBlock(g)]


def made(kind, optimizer=None):
    keras.utils.set_random_seed(0)
    if kind == "density":
        model = irn.models.DensityModel(layers_of(), seed=0)
    elif kind == "classifier":
        model = irn.models.Classifier(layers_of(), 3, seed=0)
    else:
        model = irn.models.HybridModel(layers_of(), 3, seed=0)
    model.compile(optimizer or keras.optimizers.SGD(1e-2))
    return model, (None if kind == "density" else CLASSES)


KINDS = ["density", "classifier", "hybrid"]


class Steps(keras.callbacks.Callback):
    """Counts the batches that each method takes."""

    def __init__(self):
        super().__init__()
        self.trained = self.tested = self.predicted = 0

    def on_train_batch_end(self, batch, logs=None):
        self.trained += 1

    def on_test_batch_end(self, batch, logs=None):
        self.tested += 1

    def on_predict_batch_end(self, batch, logs=None):
        self.predicted += 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_third_argument_is_the_batch_size(kind):
    model, y = made(kind)
    steps = Steps()
    model.fit(POINTS, y, 24, 1, 0, [steps])
    assert steps.trained == 4
    model.evaluate(POINTS, y, 48, 0, None, None, [steps])
    assert steps.tested == 2
    model.predict(POINTS, 16, 0, None, [steps])
    assert steps.predicted == 6


@pytest.mark.parametrize("kind", KINDS)
def test_single_batches_build_a_new_model(kind):
    model, y = made(kind)
    weights = np.ones(96)
    first = model.test_on_batch(POINTS, y, weights, return_dict=True)
    assert np.isfinite(first["loss"])
    again, _ = made(kind)
    assert np.isfinite(again.train_on_batch(POINTS, y, weights, None, True)["loss"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_model_says_that_there_is_nothing_to_train(kind):
    model, y = made(kind)
    model.build((None, 2))
    model.trainable = False
    model.compile("sgd")
    for train in (lambda: model.fit(POINTS, y, verbose=0), lambda: model.train_on_batch(POINTS, y)):
        with pytest.raises(ValueError, match="nothing to train: all of its weights are frozen"):
            train()


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_gradient_does_not_depend_on_the_scale_of_the_loss(kind):
    found = []
    for scale in (None, 1024.0):
        optimizer = keras.optimizers.SGD(1e-2)
        if scale is not None:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
        model, y = made(kind, optimizer)
        found.append(model.fit(POINTS, y, verbose=0, shuffle=False).history["max_gradient"])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_gradients_that_the_optimizer_accumulates_see_probes_of_their_own():
    x = np.tile(POINTS[:10], (8, 1))
    block = irn.layers.ResidualBlock(irn.layers.Contraction.mlp((8,)), irn.log_det.PowerSeries(4))
    model = irn.models.DensityModel([block], seed=0)
    model.compile(keras.optimizers.SGD(0.0, gradient_accumulation_steps=4))
    means = []
    log = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: means.append(logs["log_det"])
    )
    model.fit(x, batch_size=10, shuffle=False, verbose=0, callbacks=[log])
    each = np.diff(np.arange(9) * np.array([0.0, *means]))
    assert len(set(np.round(each, 5))) == 8


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("first", [[], ["center"], ["standardize"]], ids=str)
def test_a_classifier_takes_integer_images(dtype, first):
    x = np.random.default_rng(0).integers(0, 256, (32, 4, 4, 3)).astype(dtype)
    y = np.arange(32) % 3
    kinds = {
        "center": irn.layers.Center(256.0),
        "standardize": irn.layers.Standardize([0.0] * 3, [255.0] * 3),
    }
    block = irn.layers.ResidualBlock(irn.layers.Contraction.conv(4, (3, 3)))
    model = irn.models.Classifier(
        [irn.layers.ActNorm(), block], 3, preprocessing=[kinds[name] for name in first]
    )
    model.compile("adam")
    model.fit(x, y, verbose=0)
    floats = x.astype("float32")
    np.testing.assert_array_equal(model(x), model(floats))
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(floats, verbose=0))
    assert model.evaluate(x, y, verbose=0) == model.evaluate(floats, y, verbose=0)
