"""Dequantize: its noise, and the data that it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers


def test_noise_is_uniform_within_each_level():
    layer = layers.Dequantize(256)
    x = np.tile(np.arange(256.0, dtype="float32"), (400, 1))
    noise = layer.add_noise(x, seed=3).numpy() - x
    assert noise.min() >= 0.0 and noise.max() < 1.0
    assert noise.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * noise.size))
    np.testing.assert_array_equal(layer.to_levels(layer.add_noise(x, seed=3)), x)


def test_training_adds_noise_and_evaluation_does_not():
    layer, x = layers.Dequantize(4), np.full((5, 3), 2.0, "float32")
    np.testing.assert_array_equal(layer(x), x / 4)
    noisy = layer(x, training=True).numpy()
    assert (noisy >= 0.5).all() and (noisy < 0.75).all() and np.ptp(noisy) > 0
    assert not np.array_equal(noisy, layer(x, training=True))


def test_an_example_gets_the_same_noise_in_any_batch():
    layer, x = layers.Dequantize(4), np.ones((17, 3), "float32")
    whole = layer.add_noise(x, seed=3)
    np.testing.assert_array_equal(layer.add_noise(x[:5], seed=3), whole[:5])


@pytest.mark.parametrize("value", [-1.0, 4.0, 1.5])
def test_what_is_no_level_is_refused_with_the_range_received(value):
    layer, x = layers.Dequantize(4), np.ones((2, 3), "float32")
    x[1, 1] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"whole numbers in \[0, 3\]") as error:
        layer.add_noise(x, seed=0)
    assert f"{min(1.0, value):g}" in error.value.message
    assert f"{max(1.0, value):g}" in error.value.message


@pytest.mark.parametrize("value", [-0.1, 4.1])
def test_range_check_names_what_it_received(value):
    layer, x = layers.Dequantize(4), np.ones((2, 3), "float32")
    x[1, 1] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 4\]") as error:
        layer.require_range(x)
    assert f"{value:g}" in error.value.message
