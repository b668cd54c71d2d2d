"""Compares the step of a batch in parts with the step of the whole batch."""

import keras
import numpy as np
import pytest

from iresnet_tf import layers, models
from iresnet_tf.numerics.log_det import PowerSeries, RussianRoulette
from iresnet_tf.training import presets

X = np.random.default_rng(0).integers(0, 4, (14, 4, 4, 1)).astype(float)
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2.0, 14)


def trained(accumulation_steps, estimator, **fit):
    keras.utils.set_random_seed(1)
    stack = []
    for _ in range(2):
        g = layers.Contraction.conv(4, (3, 1, 3), dtype="float64")
        stack += [layers.ActNorm(dtype="float64"), layers.ResidualBlock(g, log_det=estimator)]
    noise = layers.Dequantize(4, dtype="float64")
    model = models.DensityModel(stack, preprocessing=[noise], seed=0, dtype="float64")
    model.compile(keras.optimizers.SGD(0.01), accumulation_steps=accumulation_steps)
    # The batches have 8 and 6 examples; neither number is a multiple of the 5 parts.
    history = model.fit(X, batch_size=8, epochs=2, shuffle=False, verbose=0, **fit).history
    return model, history


@pytest.mark.parametrize(
    "estimator, weights",
    [(PowerSeries(3), None), (PowerSeries(3), WEIGHTS), (RussianRoulette(), WEIGHTS)],
    ids=["series", "series, weighted", "roulette, weighted"],
)
def test_parts_of_a_batch_make_the_step_of_the_whole(estimator, weights):
    whole, figures = trained(1, estimator, sample_weight=weights)
    parts, others = trained(5, estimator, sample_weight=weights)
    for one, other in zip(whole.trainable_variables, parts.trainable_variables):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13, err_msg=one.path)
    assert figures.keys() == others.keys()
    for name, values in figures.items():
        np.testing.assert_allclose(values, others[name], rtol=1e-11, err_msg=name)


def test_a_loaded_model_goes_on_in_as_many_parts(tmp_path):
    model, _ = trained(3, PowerSeries(2))
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").accumulation_steps == 3


@pytest.mark.parametrize("steps", [0, 1.5])
def test_other_numbers_of_parts_are_refused(steps):
    model = models.DensityModel([layers.ActNorm()])
    with pytest.raises(ValueError, match=f"accumulation_steps .* received {steps}"):
        model.compile(accumulation_steps=steps)


def test_a_head_that_normalises_over_the_batch_refuses_parts():
    for kind in (models.Classifier, models.HybridModel):
        model = kind([layers.ActNorm()], classes=2)
        with pytest.raises(ValueError, match="recompute=True, or train a DensityModel"):
            model.compile(accumulation_steps=2)
        model.compile(accumulation_steps=1)
    with pytest.raises(ValueError, match="accumulation_steps=2.*classifier"):
        presets.get("digits-classifier", ["optimizer.accumulation_steps=2"])
