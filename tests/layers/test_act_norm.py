"""ActNorm: its initialisation from the first data."""

import keras
import numpy as np
import pytest
from every_layer_examples import normal

from iresnet_tf import layers

VECTOR, IMAGE = (6,), (4, 4, 2)


@pytest.mark.parametrize("shape", [VECTOR, IMAGE], ids=["vector", "image"])
@pytest.mark.parametrize("how", ["call", "fit", "initialize", "stack"])
def test_actnorm_starts_with_mean_zero_and_variance_one(shape, how):
    x = (5.0 + 3.0 * normal(64, *shape)).astype("float32")
    layer = layers.ActNorm()
    if how == "call":
        assert not layer.is_initialized()
        layer(x, training=True)
    elif how == "initialize":
        layer.initialize(x)
    elif how == "stack":
        layers.Stack([layers.Center(2.0), layer])(x, training=True)
        x = x - 2.0
    else:
        model = keras.Sequential([keras.Input(shape), layer])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        model.fit(x, x, batch_size=64, shuffle=False, verbose=0)
    assert layer.is_initialized()
    axes = tuple(range(len(shape)))
    y = layer(x).numpy().astype(np.float64)
    np.testing.assert_allclose(y.mean(axes), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.var(axes), 1.0, atol=1e-5)


def test_act_norm_keeps_the_scale_of_a_constant_channel():
    """Divided by its tiny deviation in the first batch, padding would explode in later ones."""
    layer = layers.ActNorm()
    x = np.concatenate([normal(50, 3), np.full((50, 1), 7.0)], 1).astype("float32")
    layer.initialize(x)
    y = layer(x).numpy()
    np.testing.assert_allclose(y[:, :-1].std(0), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(y[:, -1], 0.0)
    assert float(layer.log_scale[-1]) == 0.0


def test_actnorm_is_the_identity_until_then_and_starts_once():
    layer, x = layers.ActNorm(), 2.0 + normal(16, 3).astype("float32")
    np.testing.assert_array_equal(layer(x), x)
    assert not layer.is_initialized()
    layer(x, training=True)
    first = layer.get_weights()
    layer(5.0 * x, training=True)
    for one, other in zip(first, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_loaded_actnorm_does_not_start_again(tmp_path):
    x = 2.0 + normal(16, 3).astype("float32")
    model = keras.Sequential([keras.Input((3,)), layers.ActNorm()])
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].is_initialized()
    loaded(7.0 * x, training=True)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_stack_initialises_each_layer_from_the_one_before():
    x = 2.0 + 4.0 * normal(64, 6)
    model = layers.Stack(
        [
            layers.ActNorm(dtype="float64"),
            layers.ResidualBlock(layers.Contraction.mlp((8,), dtype="float64")),
            layers.ActNorm(dtype="float64"),
        ]
    )
    assert not model.is_initialized()
    model.initialize(x)
    assert model.is_initialized()
    y = model(x).numpy()
    np.testing.assert_allclose(y.mean(0), 0.0, atol=1e-9)
    np.testing.assert_allclose(y.std(0), 1.0, atol=1e-5)


@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e12, 1e30])
def test_the_unit_of_a_channel_does_not_matter(unit):
    x = np.concatenate([1.0 + normal(64, 2), np.full((64, 1), 7.0)], 1).astype("float32")
    layer, plain = layers.ActNorm(), layers.ActNorm()
    plain.initialize(x)
    layer.initialize(np.float32(unit) * x)
    y = layer(np.float32(unit) * x)
    np.testing.assert_allclose(y[:, :2], plain(x)[:, :2], atol=1e-5)
    assert float(layer.log_scale[-1]) == 0.0
