"""Tests that a density model that is saved and loaded has equal results and continues equally."""

import keras
import numpy as np
import pytest
from density_examples import IMAGE, build, fit, image_model, images, run, vector_model, vectors

from iresnet_tf.layers import (
    ActNorm,
)
from iresnet_tf.models import DensityModel
from iresnet_tf.numerics.log_det import PowerSeries


def test_act_norm_is_initialised_once_from_the_first_data(monkeypatch):
    calls = []
    initialize = ActNorm.initialize

    def counted(layer, x):
        calls.append(layer)
        initialize(layer, x)

    monkeypatch.setattr(ActNorm, "initialize", counted)
    model = vector_model()
    model.initialize(vectors())
    values = model.flow.parts[1](model.flow.parts[0](vectors())).numpy()
    np.testing.assert_allclose(values.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1.0, rtol=1e-4)
    fit(model, vectors())
    fit(model, 5 + vectors())
    assert len(calls) == 1


LOAD = """
import sys
import keras
import iresnet_tf

folder = sys.argv[1]
import numpy as np

model = keras.models.load_model(f"{folder}/model.keras")
x = np.load(f"{folder}/x.npy")
result = {f"weight_{index}": weight for index, weight in enumerate(model.get_weights())}
result |= {f"optimizer_{i}": v.numpy() for i, v in enumerate(model.optimizer.variables)}
result["log_prob"] = model.log_prob(x + 0.5, seed=3)
result["sample"] = model.sample(3, seed=1)
result["losses"] = model.evaluate(x, verbose=0)
model.fit(x, batch_size=16, shuffle=False, verbose=0)
result |= {f"continued_{i}": variable for i, variable in enumerate(model.trainable_variables)}
np.savez(f"{folder}/result.npz", **{name: np.array(value) for name, value in result.items()})
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns a trained model, its data, and the folder in which both are saved."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    model, x = image_model(log_det=PowerSeries(terms=3)), images()
    fit(model, x, epochs=2)
    model.save(folder / "model.keras")
    np.save(folder / "x.npy", x)
    return model, x, folder


def continued(model, x):
    """Continues with a copy of the model, and returns the results by name."""
    values = {
        "log_prob": model.log_prob(x + 0.5, seed=3),
        "encoded": model.encode(x + 0.5),
        "sample": model.sample(3, seed=1),
        "losses": model.evaluate(x, verbose=0),
    }
    model.fit(x, batch_size=16, shuffle=False, verbose=0)
    values |= {f"weight {w.path}": w.numpy() for w in model.trainable_variables}
    return values | {f"optimizer {v.path}": v.numpy() for v in model.optimizer.variables}


def test_a_saved_model_continues_to_the_bit_once_loaded(saved):
    _, x, folder = saved
    one, other = (keras.models.load_model(folder / "model.keras") for _ in range(2))
    assert one.optimizer.iterations == 4
    assert one.flow.is_initialized()
    one, other = continued(one, x), continued(other, x)
    for (name, first), second in zip(one.items(), other.values()):
        np.testing.assert_array_equal(first, second, name)


def test_a_model_loaded_in_a_new_process_is_the_same(saved):
    model, x, folder = saved
    run(LOAD, folder)
    loaded = np.load(folder / "result.npz")
    for index, weight in enumerate(model.get_weights()):
        np.testing.assert_array_equal(loaded[f"weight_{index}"], weight)
    for index, variable in enumerate(model.optimizer.variables):
        np.testing.assert_array_equal(loaded[f"optimizer_{index}"], variable)
    model = keras.models.load_model(folder / "model.keras")
    values = continued(model, x)
    for name in ("log_prob", "losses", "sample"):
        np.testing.assert_array_equal(loaded[name], values[name], name)
    for index, weight in enumerate(model.trainable_variables):
        np.testing.assert_array_equal(loaded[f"continued_{index}"], weight, weight.path)


@pytest.mark.parametrize("make", [vector_model, image_model])
def test_the_configuration_makes_the_same_model(make):
    model = make(prior="fixed", name="flow_model")
    config = model.get_config()
    for _ in range(2):  # The first call must not change the configuration.
        again = DensityModel.from_config(config)
        assert again.get_config() == config
        assert again.name == "flow_model"
        assert again.noise_seed == 3
        assert [type(part) for part in again.flow.parts] == [type(p) for p in model.flow.parts]
    shape = (2,) if make is vector_model else IMAGE
    x = np.ones((2, *shape), "float32")
    build(model, shape)
    again.build((None, *shape))
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.log_prob(x, seed=1), model.log_prob(x, seed=1))
