"""Tests the priors of a model by name and as objects, including those of users."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from density_examples import run
from scipy import special, stats

from iresnet_tf import layers
from iresnet_tf.models import (
    ConditionalNormal,
    DensityModel,
    DiagonalNormal,
    HybridModel,
    Prior,
    architectures,
)
from iresnet_tf.numerics.log_det import Exact

tfd = tfp.distributions

OWN = '''
import keras
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.models import Prior

tfd = tfp.distributions


@keras.saving.register_keras_serializable("iresnet_tf_tests")
class Laplace(Prior):
    """``Π Laplace(z_i; μ_i, width)`` with learned ``μ``."""

    def __init__(self, width=1.0, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape):
        self.mean = self.add_weight(name="mean", shape=input_shape[1:], initializer="zeros")

    def sample(self, count, *, temperature, seed):
        scale = temperature * self.width
        return tfd.Laplace(self.mean.value, scale).sample(count, seed=seed)

    def distribution(self):
        return tfd.Independent(tfd.Laplace(self.mean.value, self.width), 1)

    def get_config(self):
        return {**super().get_config(), "width": self.width}
'''
"""The module of a user's prior."""

LOAD = """
import sys

sys.path.insert(0, sys.argv[1])
import keras
import laplace
import numpy as np

model = keras.saving.load_model(f"{sys.argv[1]}/model.keras")
assert type(model.prior) is laplace.Laplace and model.prior.width == 0.5
x = np.load(f"{sys.argv[1]}/x.npy")
np.savez(f"{sys.argv[1]}/found.npz", log_prob=model.log_prob(x), sample=model.sample(4, seed=1))
"""


def points(count=32):
    return np.random.default_rng(0).normal(size=(count, 2)).astype("float32")


@pytest.mark.slow
def test_a_user_s_own_prior_trains_and_loads_in_a_new_process(tmp_path, monkeypatch):
    (tmp_path / "laplace.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import laplace

    block = layers.ResidualBlock(layers.Contraction.mlp((8,)), log_det=Exact())
    model = DensityModel([block, layers.ActNorm()], prior=laplace.Laplace(0.5), seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    x = points()
    model.fit(x, verbose=0)
    mean = model.prior.mean.numpy()
    assert np.all(mean != 0.0)
    z, log_det = model.flow.forward_and_log_det(x)
    expected = stats.laplace.logpdf(z, mean, 0.5).sum(1) + log_det.numpy()
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(model.distribution().log_prob(x), expected, rtol=1e-4)
    assert model.prior.summaries() == {}

    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    run(LOAD, tmp_path)
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["log_prob"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["sample"], model.sample(4, seed=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prior, learned", [("learned", True), ("fixed", False)])
def test_a_name_in_a_configuration_stands_for_its_prior(prior, learned):
    """Models that were saved before priors were objects have the name of the prior."""
    config = {**DensityModel([layers.ActNorm()], seed=0).get_config(), "prior": prior}
    model = DensityModel.from_config(config)
    assert type(model.prior) is DiagonalNormal and model.prior.learned is learned
    assert model.prior.name == "prior"


def test_the_name_of_the_conditional_prior_stands_for_as_many_classes():
    config = HybridModel([layers.ActNorm()], 3, prior="conditional", seed=0).get_config()
    for prior in ("conditional", config["prior"]):
        model = HybridModel.from_config({**config, "prior": prior})
        assert type(model.prior) is ConditionalNormal and model.prior.classes == 3
        assert model.get_config() == config


def test_a_mixture_over_classes_is_the_prior_of_a_density_without_labels(tmp_path):
    model = DensityModel([], prior=ConditionalNormal(2), preprocessing=[layers.Center(0.5)], seed=0)
    model.build((None, 3))
    model.prior.mean.assign([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]])
    x = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    by_class = [stats.norm.logpdf(x - 0.5, mean).sum(1) for mean in model.prior.mean.numpy()]
    expected = special.logsumexp(by_class, axis=0) - np.log(2.0)
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.sample(5, seed=2), model.sample(5, seed=2))


def test_what_is_no_prior_is_refused():
    with pytest.raises(ValueError, match="prior is one of .*models.Prior; received <Dense"):
        DensityModel([layers.ActNorm()], prior=keras.layers.Dense(2))


def test_what_the_models_tell_of_themselves():
    x = tf.zeros([2, 4, 4, 1])
    stack = {"log_det": Exact()}
    expected = {
        "learned": {"encode", "decode", "log_prob", "sample", "classify"},
        "conditional": {
            *("encode", "decode", "log_prob", "sample", "classify", "sample_given_labels")
        },
    }
    for prior, names in expected.items():
        flow = architectures.image_flow((1,), 4, **stack)
        model = HybridModel(flow, 3, prior=prior)
        model.build(x.shape)
        assert set(model.signatures()) == names
        assert model.has_density and model.classes == 3
        assert model.prior.takes_labels is (prior == "conditional")
        assert isinstance(model.prior, Prior)
        np.testing.assert_array_equal(model.prior.summaries()["scale"], 1.0)
    density = DensityModel([layers.ActNorm()])
    density.build((None, 2))
    assert set(density.signatures()) == {"encode", "decode", "log_prob", "sample"}
    assert density.has_density and density.classes is None
