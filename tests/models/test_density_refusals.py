"""Tests what a density model refuses, and its error messages."""

import math

import numpy as np
import pytest
import tensorflow as tf
from density_examples import (
    LEVELS,
    fit,
    image_model,
    images,
    vector_model,
    vectors,
)

from iresnet_tf.layers import (
    ActNorm,
)
from iresnet_tf.models import DensityModel


def test_compile_refuses_a_loss_and_metrics():
    for argument in ("loss", "metrics"):
        with pytest.raises(ValueError, match=f"own loss.*{argument}='mse'"):
            vector_model().compile(optimizer="adam", **{argument: "mse"})


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.distribution(),
        lambda model: model.bijector(),
        lambda model: model.sample(1),
        lambda model: model.decode(np.zeros((1, 2))),
        lambda model: model.dimension,
    ],
)
def test_use_before_the_shape_is_known_says_what_to_do(use):
    with pytest.raises(ValueError, match="shape of its data.*Fit it"):
        use(vector_model())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, 2.0]], "array.*list"),
        ({"x": vectors()}, "array.*dict"),
        (None, "array.*NoneType"),
        (np.array([["a", "b"]]), "numbers.*U1"),
        (np.array([[object()]]), "numbers.*object"),
        (np.ones((4, 2)) + 1j, "numbers.*complex"),
        (np.ones(4), r"shape.*\(4,\)"),
        (np.ones((0, 2)), r"no examples.*\(0, 2\)"),
        (tf.data.Dataset.from_tensor_slices(vectors()).take(0).batch(4), "no examples"),
        (tf.data.Dataset.from_tensor_slices({"x": vectors()}).batch(4), "numbers.*dict"),
        (tf.data.Dataset.from_tensor_slices(vectors()), r"shape.*\(.*\).*Batch"),
    ],
)
def test_fit_refuses_data(x, message):
    with pytest.raises(ValueError, match=message):
        fit(vector_model(), x, batch_size=None)


@pytest.fixture(scope="module")
def compiled():
    """Returns a vector and an image model, built, with a traced train step."""
    vector, image = vector_model(), image_model()
    fit(vector, vectors(16))
    fit(image, images(16))
    return {"vector": vector, "image": image}


def spoiled(x, value):
    x = np.array(x, "float32")
    x.flat[5] = value
    return x


@pytest.mark.parametrize(
    ("kind", "x", "message"),
    [
        ("vector", spoiled(vectors(16), math.nan), "NaN or Inf"),
        ("vector", spoiled(vectors(16), math.inf), "NaN or Inf"),
        ("image", spoiled(images(16), math.nan), "NaN or Inf"),
        ("image", spoiled(images(16), LEVELS), r"\[0, 7\]"),
        ("image", spoiled(images(16), -1.0), r"\[0, 7\]"),
        ("image", spoiled(images(16), 0.5), "whole numbers"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_values_are_refused_in_a_compiled_step(compiled, kind, x, message, method):
    model = compiled[kind]
    before = [weight.numpy() for weight in model.trainable_variables]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        getattr(model, method)(x, verbose=0)
    for weight, value in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    ("kind", "x", "message"),
    [
        ("vector", np.ones((4, 3)), r"\(2,\).*\(.*3\)"),
        ("vector", np.ones((4, 2, 2)), r"\(2,\).*\(.*2, 2\)"),
        ("image", np.ones((4, 4, 4, 3)), r"\(4, 4, 1\).*\(.*4, 4, 3\)"),
        ("image", np.ones((4, 16)), r"\(4, 4, 1\).*\(.*16\)"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "log_prob", "predict"])
def test_another_shape_is_refused_once_built(compiled, kind, x, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(compiled[kind], method)(x)


def test_a_seed_out_of_range_is_named():
    with pytest.raises(ValueError, match="seed.*-1"):
        DensityModel([ActNorm()], seed=-1)
