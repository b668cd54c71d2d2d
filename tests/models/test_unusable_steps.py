"""Tests that steps on data without examples, weights or finite numbers are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf as irn
from iresnet_tf import layers

X = np.random.default_rng(0).normal(size=(2000, 5)).astype("float32")
Y = (X[:, 0] > 0.0).astype(int)


def stack():
    return [layers.ActNorm(), layers.ResidualBlock(layers.Contraction.mlp((8,)), name="block")]


def density(optimizer="adam", **options):
    model = irn.models.DensityModel(stack(), seed=0)
    model.compile(optimizer, **options)
    model.fit(X[:8], verbose=0)
    return model


def classifier():
    model = irn.models.Classifier(stack(), 2, seed=0)
    model.compile("adam")
    model.fit(X[:8], Y[:8], verbose=0)
    return model


def test_a_last_step_that_is_not_finite_fails_with_the_names_of_layers():
    model, far = density(), X[:8].copy()
    far[3, 2] = 1e20
    with pytest.raises(tf.errors.InvalidArgumentError, match="last step .* block.* not finite"):
        model.fit(far, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="learning rate"):
        density(keras.optimizers.SGD(np.inf))


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("made", [density, classifier])
def test_weights_that_are_no_weights_are_refused(made, wrong):
    model, weights = made(), np.ones(8, "float32")
    weights[5] = wrong
    data = X[:8], Y[:8]
    before = model.get_weights()
    for method in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=f"finite numbers .* Received {wrong} for sample 5"):
            method(*data, sample_weight=weights)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_negative_weights_of_a_dataset_are_refused():
    weights = np.r_[np.ones(7), -1.0].astype("float32")
    batches = tf.data.Dataset.from_tensors((X[:8], Y[:8].astype("float32"), weights))
    with pytest.raises(tf.errors.InvalidArgumentError, match="sample_weight has finite numbers"):
        density().fit(batches, verbose=0)


@pytest.mark.parametrize("method", ["evaluate", "predict", "train_on_batch", "test_on_batch"])
@pytest.mark.parametrize("made", [density, classifier])
def test_no_examples_are_refused(made, method):
    model = made()
    with pytest.raises(ValueError, match=r"have no examples; received shape \(0, 5\)"):
        getattr(model, method)(X[:0])


@pytest.mark.parametrize(
    "options", [{}, {"log_det_share": 0.25}, {"log_det_share": 0.25, "accumulation_steps": 3}]
)
def test_an_empty_batch_of_a_dataset_is_refused(options):
    model = density(**options)
    signature = tf.TensorSpec([None, 5], tf.float32)
    parts = [X, X[:0], X[:3]]
    batches = tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=signature)
    taken = int(model.optimizer.iterations)
    with pytest.raises(tf.errors.InvalidArgumentError, match="A batch has no examples"):
        model.fit(batches, verbose=0)
    assert int(model.optimizer.iterations) == taken + 1
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_an_empty_batch_of_a_classifier_is_refused():
    signature = tf.TensorSpec([None, 5], tf.float32), tf.TensorSpec([None], tf.int32)
    parts = [(X, Y), (X[:0], Y[:0])]
    batches = tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=signature)
    with pytest.raises(tf.errors.InvalidArgumentError, match="A batch has no examples"):
        classifier().fit(batches, verbose=0)


def test_weights_of_layers_that_are_not_finite_are_named_in_evaluations():
    model = density()
    kernel = layers.spectral_layers(model)[0].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    model.evaluation_seed.assign([0, 0])
    for method in (model.evaluate, model.predict):
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError)) as caught:
            method(X[:8], verbose=0)
        assert "block" in str(caught.value) and "\n" not in str(caught.value)
