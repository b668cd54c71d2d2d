"""What every model around a flow does in training."""

import keras
import numpy as np
import pytest

from iresnet_tf import layers, models


def _layers():
    g = layers.Contraction.conv(4, (3, 1, 3), dtype="float64")
    return [layers.ActNorm(dtype="float64"), layers.ResidualBlock(g)]


def _models():
    yield models.DensityModel(_layers(), dtype="float64")
    yield models.Classifier(_layers(), classes=3, dtype="float64")
    yield models.HybridModel(_layers(), classes=3, dtype="float64")


@pytest.mark.parametrize("model", _models(), ids=lambda model: type(model).__name__)
def test_the_largest_gradient_is_what_a_unit_step_moves_a_weight_by(model):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 4, 4, 2)), random.integers(0, 3, 8)
    y = None if type(model) is models.DensityModel else y
    model.compile(keras.optimizers.SGD(1.0))
    model.fit(x, y, epochs=1, verbose=0)
    before = [weight.numpy() for weight in model.trainable_variables]
    history = model.fit(x, y, epochs=1, verbose=0)
    after = [weight.numpy() for weight in model.trainable_variables]
    moved = [np.max(abs(new - old)) for old, new in zip(before, after)]
    assert history.history["max_gradient"][0] == pytest.approx(max(moved), rel=1e-6)
    assert "max_gradient" not in model.evaluate(x, y, verbose=0, return_dict=True)
