"""Options of `compile` that make training steps cheaper: what they change, and what they do not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from density_examples import KnownNoise, image_model, images
from economy_examples import data, gradients, made

from iresnet_tf import layers, models
from iresnet_tf.layers.economy import NO_ECONOMY, STEP
from iresnet_tf.numerics.log_det import Exact, PowerSeries

BOTH = {"log_det_share": 0.3, "product_dtype": "bfloat16"}


CONV = pytest.param("conv", marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", ["dense", CONV])
def test_the_mean_gradient_of_a_share_is_the_exact_gradient(kind):
    """The share is 2 of 5 samples, which have weights."""
    x, weights = data(kind, 5), np.random.default_rng(2).uniform(0.5, 2.0, 5)
    model = made(kind, Exact())
    exact = gradients(model, [x], sample_weight=weights)[0]
    draws = gradients(model, 150 * [x], sample_weight=weights, log_det_share=0.3)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    assert np.mean(error > 1e-5) > 0.5
    assert (np.abs(draws.mean(0) - exact) <= 4.0 * error + 1e-5 * np.abs(exact).max()).all()


@pytest.mark.parametrize("kind", ["dense", CONV])
def test_the_bias_of_bfloat16_is_below_a_hundredth_of_the_noise(kind):
    """The noise is the root mean square length by which the gradients of single steps, each with
    its own batch and probes, differ from their mean."""
    batches = [data(kind, 16, seed=seed) for seed in range(60)]
    model = made(kind, PowerSeries(5))
    exact, low = (gradients(model, batches, product_dtype=dtype) for dtype in (None, "bfloat16"))
    noise = np.sqrt(np.mean(np.sum(np.square(exact - exact.mean(0)), 1)))
    bias = np.linalg.norm((low - exact).mean(0))
    assert 0.0 < bias <= 0.01 * noise


def test_figures_of_training_are_unbiased_and_evaluations_are_those_of_float32():
    """The noise of the levels is known and the estimator exact, so only the choice varies."""
    x = images(12)
    model = image_model(KnownNoise)
    model.compile(keras.optimizers.SGD(0.0), **BOTH)
    options = {"validation_data": (x,), "validation_freq": 60, "batch_size": 12, "verbose": 0}
    figures = model.fit(x, epochs=60, **options).history
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    plain.compile(keras.optimizers.SGD(0.0))
    expected = plain.evaluate(x, batch_size=12, verbose=0, return_dict=True)
    assert expected == model.evaluate(x, batch_size=12, verbose=0, return_dict=True)
    assert [expected["bits_per_dim"]] == figures["val_bits_per_dim"]
    levels = x + np.float32(0.25)
    z = plain.encode(levels)
    np.testing.assert_array_equal(z, model.encode(levels))
    np.testing.assert_array_equal(plain.decode(z), model.decode(z))
    np.testing.assert_array_equal(plain.log_prob(levels), model.log_prob(levels))
    assert plain.lipschitz_bounds() == model.lipschitz_bounds()
    found = np.array(figures["bits_per_dim"])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert 1e-5 < error and abs(found.mean() - expected["bits_per_dim"]) < 4.0 * error


def test_an_option_lasts_for_the_step_alone():
    seen = []

    class Watching(layers.ResidualBlock):
        def _forward_map(self, context):
            seen.append(STEP.get().economy)
            return super()._forward_map(context)

    model = models.DensityModel([Watching(layers.Contraction.mlp((4,)), Exact())], seed=0)
    model.compile("sgd", **BOTH)
    x = data("dense", 8)
    model.fit(x, validation_data=(x,), verbose=0)
    assert {NO_ECONOMY, model.economy} == set(seen)
    seen.clear()
    model.evaluate(x, verbose=0)
    model.log_prob(x)
    model.predict(x, verbose=0)
    model.initialize(x)
    tf.function(model.encode)(x)
    assert set(seen) == {NO_ECONOMY}


@pytest.mark.parametrize("task", [models.DensityModel, models.Classifier])
def test_power_iteration_after_a_step_reads_the_option(task):
    found = []

    class Watching(layers.SpectralDense):
        def update_vectors(self, kernel):
            found.append(STEP.get().economy.product_dtype)
            super().update_vectors(kernel)

    flow = [layers.ResidualBlock(layers.Contraction([Watching(4)]), Exact())]
    model = task(flow, seed=0, **({"classes": 3} if task is models.Classifier else {}))
    for product_dtype in ("bfloat16", None):
        model.compile("sgd", product_dtype=product_dtype)
        model.train_on_batch(data("dense", 12)[:, :4], np.arange(12) % 3)
        assert set(found) == {product_dtype}
        found.clear()


def test_an_inverse_inside_a_training_step_is_that_of_float32():
    """A block's inverse does not read the option, even where a step is traced."""
    found = []

    class Inverting(models.DensityModel):
        def _objective(self, x, *arguments, **options):
            found.append(self.decode(x))
            return super()._objective(x, *arguments, **options)

    g = layers.Contraction.mlp((8,))
    model = Inverting([layers.ResidualBlock(g, Exact())], seed=0)
    x = data("dense", 8)
    model.build(x.shape)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True, **BOTH)
    # At the end of the step, the norms of the kernels are estimated anew.
    before = model.decode(x)
    model.train_on_batch(x)
    np.testing.assert_allclose(found[0], before, atol=2e-6)


def test_options_are_saved_with_the_model(tmp_path):
    for task, options in (
        (models.DensityModel, BOTH),
        (models.HybridModel, BOTH),
        (models.Classifier, {"product_dtype": "bfloat16"}),
        (models.DensityModel, {}),
    ):
        model = made("dense", task=task)
        model.compile("sgd", **options)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.economy == model.economy and loaded.economy.changed() == options


@pytest.mark.parametrize("options,message", [
    ({"log_det_share": 0.0}, "log_det_share .* received 0.0"),
    ({"log_det_share": 1.5}, "log_det_share .* received 1.5"),
    ({"log_det_share": float("nan")}, "log_det_share .* received nan"),
    ({"product_dtype": "float16"}, "product_dtype .* received 'float16'"),
])  # fmt: skip
def test_other_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        made("dense").compile("sgd", **options)


def test_what_has_no_log_determinant_or_no_lower_precision_is_refused():
    with pytest.raises(TypeError, match="log_det_share"):
        made("dense", task=models.Classifier).compile("sgd", log_det_share=0.5)
    for task in (models.DensityModel, models.Classifier):
        model = made("dense", dtype="float64", task=task)
        with pytest.raises(ValueError, match="is for models in float32.* in float64"):
            model.compile("sgd", product_dtype="bfloat16")
    made("dense", dtype="float64").compile("sgd", log_det_share=0.5)


@pytest.mark.parametrize("task", [models.Classifier, models.HybridModel])
def test_models_with_classes_train_in_bfloat16(task):
    x, y, model = data("dense", 12), np.arange(12) % 3, made("dense", Exact(), task=task)
    exact = gradients(model, [x], y)[0]
    low = gradients(model, [x], y, product_dtype="bfloat16")[0]
    assert 0.0 < np.linalg.norm(low - exact) < 0.02 * np.linalg.norm(exact)


def test_options_work_with_parts_of_a_batch_and_recomputation():
    """The two models choose the same samples and probes, and round differently."""
    x, model = data("dense", 7), made("dense", PowerSeries(3))
    found = []
    for recompute in (False, True):
        for block in layers.residual_blocks(model):
            block.recompute = recompute
        found.append(gradients(model, [x], accumulation_steps=2, **BOTH))
    np.testing.assert_allclose(*found, atol=0.02 * np.abs(found[0]).max())


@pytest.mark.slow
def test_xla_compiles_the_options():
    x, model = data("conv", 8), made("conv", PowerSeries(3))
    plain, compiled = (gradients(model, [x], jit_compile=each, **BOTH) for each in (False, True))
    np.testing.assert_allclose(plain, compiled, atol=0.02 * np.abs(plain).max())
