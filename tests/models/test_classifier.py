"""Tests the classifier and the hybrid model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.models import architectures

CLASSES = 3


def data(count=96, seed=0):
    """Returns 8×8 images with 4 levels; the position of a bright stripe is the class."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 2, (count, 8, 8, 1))
    y = random.integers(0, CLASSES, count)
    for image, label in zip(x, y):
        image[2 * label : 2 * label + 2] += 2
    return x.astype("float64"), y


def trunk(**options):
    options = {"activation": "elu", "log_det": irn.log_det.Exact(), **options}
    return architectures.image_flow((1, 1), 8, **options)


def classifier(**options):
    preprocessing = [layers.Standardize(1.5, 1.0)]
    return irn.models.Classifier(
        trunk(padding=3, preactivation=True), CLASSES, preprocessing=preprocessing, **options
    )


def hybrid(**options):
    preprocessing = [layers.Dequantize(4), layers.Center()]
    options = {"preprocessing": preprocessing, "seed": 0, **options}
    return irn.models.HybridModel(trunk(factor_out=True), CLASSES, **options)


def test_a_classifier_learns_and_its_trunk_still_inverts():
    model, (x, y) = classifier(), data()
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(x, y, epochs=15, batch_size=16, verbose=0)
    held_out, labels = data(seed=1)
    assert model.evaluate(held_out, labels, verbose=0, return_dict=True)["accuracy"] > 0.95
    assert model.flow.is_initialized()
    np.testing.assert_allclose(model.decode(model.encode(x)), x, atol=1e-4)


@pytest.mark.parametrize("pooling", [True, False])
def test_a_classifier_is_its_head_on_its_latent(pooling):
    model, (x, _) = classifier(pooling=pooling), data(5)
    model.build(x.shape)
    head = model.head
    z = model.encode(x).numpy().reshape(5, *model.flow._last_latent_shape())
    gamma, beta, mean, variance = (weight.numpy() for weight in head.norm.weights)
    normal = (z - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    features = np.maximum(normal, 0.0)
    features = features.mean((1, 2)) if pooling else features.reshape(5, -1)
    kernel, bias = (weight.numpy() for weight in head.dense.weights)
    np.testing.assert_allclose(model.predict(x, verbose=0), features @ kernel + bias, atol=1e-5)


def test_a_classifier_takes_the_users_loss_and_metrics():
    model, (x, y) = classifier(), data(16)
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile("sgd", loss=smoothed, metrics=["categorical_accuracy"])
    history = model.fit(x, np.eye(CLASSES)[y], verbose=0).history
    assert set(history) == {"loss", "categorical_accuracy", "max_gradient"}


@pytest.mark.parametrize("make", [classifier, hybrid])
def test_saved_and_loaded(make, tmp_path):
    model, (x, y) = make(dropout=0.2, pooling=False), data(32)
    model.compile(keras.optimizers.Adam(1e-3))
    model.fit(x, y, batch_size=9, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(x), model.encode(x))
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == expected
    head = loaded.head
    assert (head.classes, head.rate, head.pooling) == (CLASSES, 0.2, False)


@pytest.mark.parametrize("make", [classifier, hybrid])
def test_one_class_and_one_example_at_a_time(make):
    model, (x, _) = make(), data(8)
    model.compile("sgd")
    history = model.fit(x, np.zeros(8, int), batch_size=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("prior", ["learned", "conditional"])
def test_the_loss_of_a_hybrid_by_hand(prior):
    model, (x, y) = hybrid(prior=prior, likelihood_weight=0.3), data(12)
    model.compile(keras.optimizers.SGD(0.0))
    model.initialize(x)
    figures = model.evaluate(x, y, batch_size=12, verbose=0, return_dict=True)
    figures = {name: float(value) for name, value in figures.items()}
    nats = -(figures["log_prior"] + figures["log_det"])
    assert figures["loss"] == pytest.approx(figures["cross_entropy"] + 0.3 * nats, rel=1e-5)
    assert figures["bits_per_dim"] == pytest.approx(nats / (64 * np.log(2.0)), rel=1e-5)


def test_a_weight_of_none_is_one_over_the_dimension():
    (x, y), losses = data(12), {}
    for weight in (None, 1.0 / 64):
        keras.utils.set_random_seed(3)
        model = hybrid(likelihood_weight=weight)
        model.compile(keras.optimizers.SGD(0.0))
        losses[weight] = model.fit(x, y, batch_size=12, verbose=0).history["loss"]
    assert losses[None] == losses[1.0 / 64]


def test_a_hybrid_learns_both():
    model, (x, y) = hybrid(prior="conditional", likelihood_weight=1.0), data(256)
    model.compile(keras.optimizers.Adam(1e-2))
    before = model.fit(x, y, batch_size=32, verbose=0).history
    history = model.fit(x, y, epochs=40, batch_size=32, verbose=0).history
    assert history["bits_per_dim"][-1] < before["bits_per_dim"][0] - 0.3
    assert history["accuracy"][-1] > 0.95
    # In samples of a class, the rows of its stripe are bright, and those of other classes are not.
    labels = np.repeat(np.arange(CLASSES), 8)
    samples = model.sample(24, temperature=0.5, seed=0, labels=labels).numpy()
    stripes = np.stack([samples[:, 2 * k : 2 * k + 2].mean((1, 2, 3)) for k in range(CLASSES)], 1)
    assert np.mean(stripes.argmax(1) == labels) > 0.9


def test_a_conditional_density_is_the_mean_over_its_classes():
    model, (x, _) = hybrid(prior="conditional"), data(6)
    model.build(x.shape)
    model.prior.mean.assign(tf.random.stateless_normal(model.prior.mean.shape, [0, 1]))
    model.prior.log_scale.assign(
        0.1 * tf.random.stateless_normal(model.prior.log_scale.shape, [0, 2])
    )
    points = x + 0.5
    z, log_det = model.flow.forward_and_log_det(points, seed=0)
    mean, scale = model.prior.mean.numpy(), np.exp(model.prior.log_scale.numpy())
    each = stats.norm.logpdf(z.numpy()[:, None], mean, scale).sum(-1)
    expected = special.logsumexp(each, axis=1) - np.log(CLASSES) + log_det.numpy()
    np.testing.assert_allclose(model.log_prob(points), expected, rtol=1e-4)
    np.testing.assert_allclose(model.distribution().log_prob(points), expected, rtol=1e-4)


def test_predictions_of_a_hybrid_have_names():
    model, (x, _) = hybrid(), data(5)
    predicted = model.predict(x, batch_size=2, verbose=0)
    assert predicted["log_prob"].shape == (5,)
    np.testing.assert_allclose(predicted["logits"], model.classify(x), atol=1e-5)


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda: hybrid(likelihood_weight=-1.0), "likelihood_weight"),
        (lambda: hybrid(prior="flat"), "prior is one of"),
        (lambda: irn.models.Classifier(trunk(), 1), "at least 2"),
        (lambda: classifier(dropout=1.0), r"\[0, 1\)"),
        (lambda: _fitted(hybrid(), data()[0]), "needs the classes"),
        (lambda: _fitted(classifier(), data()[0]), "received no classes"),
        (lambda: _fitted(hybrid(), *data(), 1), "from 0 to 2; received some from 1 to 3"),
        (lambda: _fitted(classifier(), *data(), -1), "from 0 to 2; received some from -1 to 1"),
        (lambda: _sampled(hybrid(), [0, 1]), "prior='conditional'"),
        (lambda: _sampled(hybrid(prior="conditional"), [0, 7]), "classes from 0 to 2"),
    ],
)
def test_clear_errors(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_targets_of_another_loss_are_not_taken_for_classes():
    x, y = data()
    ignored = np.where(np.arange(len(y)) % 2, y, -1)
    model = classifier()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True, ignore_class=-1))
    model.fit(x, ignored, verbose=0)
    model.compile("sgd", "poisson", metrics=[])
    model.fit(x, np.tile([3, 0, 5], (len(y), 1)), verbose=0)


def _fitted(model, x, y=None, offset=0):
    model.compile("sgd")
    model.fit(x, None if y is None else y + offset, verbose=0)


def _sampled(model, labels):
    model.build((None, 8, 8, 1))
    model.sample(2, labels=labels)


@pytest.mark.parametrize("width", [(8, 8, 8), (8, 4)])
def test_an_architecture_has_one_width_a_scale(width):
    with pytest.raises(ValueError, match="one for each of the 1 scales"):
        architectures.image_flow((1,), width)
