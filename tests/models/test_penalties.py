"""The loss counts the regularizers of weights; layers whose losses it cannot see are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf as irn
from iresnet_tf import layers, models

RATE, WEIGHT = 0.125, 0.25  # exact in float32, in which Keras holds them
X = np.random.default_rng(0).normal(size=(24, 2))
CONTEXTS = np.random.default_rng(1).normal(size=(24, 3))
CLASSES = np.arange(24) % 3


def dense(units, seed, penalty):
    start = keras.initializers.RandomNormal(0.0, 0.1, seed=seed)
    regularizer = keras.regularizers.L2(WEIGHT) if penalty else None
    return keras.layers.Dense(
        units, kernel_initializer=start, kernel_regularizer=regularizer, dtype="float64"
    )


def made(kind, penalty):
    """Returns a model with a stock layer in a branch that two blocks share, and its targets."""
    keras.utils.set_random_seed(0)
    g = layers.Contraction([dense(2, 1, penalty)], lipschitz=0.9)
    stack = [layers.ResidualBlock(g, irn.log_det.Exact()) for _ in range(2)]
    options = {"seed": 0, "dtype": "float64"}
    if kind == "density":
        return models.DensityModel(stack, **options), None
    if kind == "conditional":
        network = keras.Sequential([dense(3, 2, penalty)])
        context = {"context_shape": (3,), "conditioner": network, "dtype": "float64"}
        stack.append(layers.ResidualBlock(layers.Contraction.mlp((4,), **context)))
        return models.ConditionalDensityModel(stack, **options), CONTEXTS
    make = models.Classifier if kind == "classifier" else models.HybridModel
    return make(stack, 3, **options), CLASSES


def stepped(kind, penalty, **options):
    """Returns weights by path before and after one step of gradient descent, and the figures."""
    model, y = made(kind, penalty)
    model.compile(keras.optimizers.SGD(RATE), **options)
    model.build((None, 2))
    before = [weight.numpy() for weight in model.trainable_variables]
    weights = np.linspace(0.5, 2.0, 24)
    figures = model.fit(X, y, batch_size=24, sample_weight=weights, shuffle=False, verbose=0)
    after = [weight.numpy() for weight in model.trainable_variables]
    return before, after, figures.history, model


CASES = [
    ("density", 1),
    ("density", 3),
    ("conditional", 1),
    ("conditional", 3),
    ("hybrid", 1),
    ("classifier", 1),
]


@pytest.mark.parametrize(("kind", "parts"), CASES)
def test_a_step_descends_each_regularizer_once(kind, parts):
    """``∇ λ‖W‖² = 2 λ W``, and a shared branch counts once."""
    before, plain, figures, _ = stepped(kind, False, accumulation_steps=parts)
    start, after, penalised, model = stepped(kind, True, accumulation_steps=parts)
    penalty = 0.0
    for weight, one, other, w, v in zip(model.trainable_variables, before, start, plain, after):
        np.testing.assert_array_equal(one, other)
        size = 0.0 if weight.regularizer is None else WEIGHT
        penalty += size * np.sum(one**2)
        np.testing.assert_allclose(w - v, 2.0 * RATE * size * one, rtol=1e-8, atol=1e-12)
    assert penalty > 0.0
    np.testing.assert_allclose(penalised["loss"][0] - figures["loss"][0], penalty, rtol=1e-4)
    for name in figures.keys() - {"loss", "max_gradient"}:
        assert figures[name] == penalised[name]


def test_an_evaluation_counts_regularizers_and_a_frozen_weight_has_none():
    model, _ = made("density", True)
    model.compile("sgd")
    figures = model.evaluate(X, verbose=0, return_dict=True)
    kernel = next(w for w in model.trainable_variables if w.regularizer is not None)
    nats = -(figures["log_prior"] + figures["log_det"])
    penalty = WEIGHT * np.sum(kernel.numpy() ** 2)
    np.testing.assert_allclose(figures["loss"] - nats, penalty, rtol=1e-4)
    model.flow.trainable = False
    model.compile("sgd")
    figures = model.evaluate(X, verbose=0, return_dict=True)
    # Keras's metrics are means in float32.
    np.testing.assert_allclose(figures["loss"], nats, rtol=1e-6)


class AddsLoss(keras.layers.Layer):
    def call(self, x):
        self.add_loss(tf.reduce_mean(x**2))
        return 0.1 * x


class OwnMode(keras.layers.Layer):
    def call(self, x, training=False):
        return 0.2 * x if training else 0.1 * x


REFUSED = {
    "dropout": lambda: keras.Sequential([keras.layers.Dropout(0.5)]),
    "batch_normalization": keras.layers.BatchNormalization,
    "spectral_normalization": lambda: keras.layers.SpectralNormalization(keras.layers.Dense(2)),
    "dense": lambda: keras.layers.Dense(2, activity_regularizer="l2"),
    "adds_loss": AddsLoss,
    "own_mode": OwnMode,
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", [models.DensityModel, models.HybridModel])
def test_what_a_density_would_ignore_is_refused_by_name(kind, name):
    g = layers.Contraction([REFUSED[name]()], lipschitz=0.9)
    options = {"classes": 3} if kind is models.HybridModel else {}
    model = kind([layers.ResidualBlock(g, irn.log_det.Exact())], **options)
    model.compile("sgd")
    with pytest.raises(ValueError, match=rf"{name}"):
        model.fit(X.astype("float32"), CLASSES, verbose=0)


def test_layers_that_could_act_in_training_but_do_not_are_taken():
    parts = [keras.layers.Dropout(0.0), keras.layers.LayerNormalization(), keras.layers.Dense(2)]
    g = layers.Contraction(parts, lipschitz=0.9)
    model = models.DensityModel([layers.ResidualBlock(g, irn.log_det.Exact())])
    model.compile("sgd")
    model.build((None, 2))
    model.make_train_function()


def test_a_classifier_refuses_the_penalty_of_a_layer_that_it_does_not_call():
    g = layers.Contraction([layers.SpectralDense(activity_regularizer="l2", name="linear")])
    model = models.Classifier([layers.ResidualBlock(g)], 3)
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"activity_regularizer.*received linear"):
        model.fit(X, CLASSES, verbose=0)
