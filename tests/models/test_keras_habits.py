"""Tests that user-defined models and loops, precision and the summary work as in stock Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from keras_examples import block, density, points, regression, spectral_norms, stock

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.data import digits


def test_steps_follow_a_block_s_estimator():
    """After the estimator is exchanged, predict and evaluate equal `Exact`, even compiled."""
    model = density()
    model.compile("sgd")
    model.fit(points(), epochs=1, verbose=0)
    for inside in layers.residual_blocks(model):
        inside.log_det = irn.log_det.PowerSeries(terms=1)
    rough = model.predict(points(), verbose=0), model.evaluate(points(), verbose=0)[0]
    for inside in layers.residual_blocks(model):
        inside.log_det.terms = 9
    better = model.predict(points(), verbose=0)
    for inside in layers.residual_blocks(model):
        inside.log_det = irn.log_det.Exact()
    exact = model.log_prob(points()).numpy()
    np.testing.assert_allclose(model.predict(points(), verbose=0), exact, rtol=0, atol=1e-4)
    assert model.evaluate(points(), verbose=0)[0] == pytest.approx(-exact.mean(), abs=1e-4)
    assert np.abs(rough[0] - exact).max() > 1e-2
    assert np.abs(better - rough[0]).max() > 1e-2
    assert abs(rough[1] + exact.mean()) > 1e-3


@pytest.mark.parametrize("name", ["log_det", "solver"])
def test_what_is_no_estimator_or_solver_is_refused_at_once(name):
    one = block()
    before = getattr(one, name)
    with pytest.raises(ValueError, match=f"{name} is .*'exact'"):
        setattr(one, name, "exact")
    assert getattr(one, name) is before


def test_models_are_saved_as_keras_files_alone(tmp_path):
    model = density()
    model.build((None, 2))
    with pytest.raises(ValueError, match=r"\.keras file; received .*model\.h5"):
        model.save(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


def test_levels_without_noise_are_predicted_with_a_warning():
    model = irn.models.DensityModel([block()], preprocessing=[layers.Dequantize(4)], seed=0)
    levels = np.array([[0, 3], [1, 2]], np.uint8)
    with pytest.warns(UserWarning, match="received levels, uint8.*dequantized"):
        density_of_corners = model.predict(levels, verbose=0)
    np.testing.assert_allclose(density_of_corners, model.log_prob(levels), rtol=1e-5)


def test_a_dataset_without_batches_is_told_to_batch():
    model = density()
    model.build((None, 2))
    model.compile("sgd")
    samples = tf.data.Dataset.from_tensor_slices(points())
    with pytest.raises(ValueError, match="Batch the dataset"):
        model.evaluate(samples)


@pytest.mark.parametrize("units, hidden", [(5, [5]), ((5, 6), [5, 6])])
def test_a_number_stands_for_one_layer_or_axis(units, hidden):
    g = layers.Contraction.mlp(units, context_shape=3)
    g.build((None, 2))
    widths = [layer.kernel.shape[1] for layer in layers.spectral_layers(g)]
    assert widths == [*hidden, 2] and g.context_shape == (3,)


class Own(keras.Model):
    """A user's subclass that has its blocks in a list."""

    def __init__(self):
        super().__init__()
        self.blocks = [block(), block()]
        self.head = keras.layers.Dense(1)

    def call(self, x):
        for each in self.blocks:
            x = each(x)
        return self.head(x)


def test_own_model_in_a_custom_loop_stays_constrained():
    model, optimizer = Own(), keras.optimizers.SGD(0.01)
    x, y = regression()
    model(x)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    losses = [float(step(x, y)) for _ in range(60)]
    assert losses[-1] < losses[0]
    assert any(float(layer.spectral_norm()) > 0.9 for layer in layers.spectral_layers(model))
    layers.refresh(model)
    assert max(spectral_norms(model)) <= 0.9 * 1.001
    assert all(bound < 1.0 for bound in layers.lipschitz_bounds(model).values())


def test_bounds_of_any_model_are_those_of_its_blocks():
    model = stock("sgd")
    inside = model.get_layer("inside")
    assert layers.lipschitz_bounds(model) == {"inside": inside.lipschitz_bound()}
    nested = keras.Sequential([keras.Input((3,)), model])
    assert layers.residual_blocks(nested) == [inside]


def test_a_tfds_pipeline_trains_as_its_array_does(tmp_path):
    digits.load("test", tmp_path)
    pairs = tfds.load("digits", split="test", data_dir=tmp_path, as_supervised=True)
    x = np.stack([image for image, _ in tfds.as_numpy(pairs)])
    weights = []
    for data in (pairs.batch(90), x):
        keras.utils.set_random_seed(0)
        g = layers.Contraction.conv(4, (3, 3))
        flow = [layers.ActNorm(), layers.ResidualBlock(g, log_det=irn.log_det.PowerSeries(2))]
        model = irn.models.DensityModel(flow, preprocessing=[layers.Dequantize(17)], seed=0)
        model.compile(keras.optimizers.Adam(1e-2))
        options = {"batch_size": 90, "shuffle": False} if data is x else {}
        model.fit(data, verbose=0, **options)
        weights.append([each.numpy() for each in model.trainable_variables])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_float32_block_stands_in_a_mixed_precision_model():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(ValueError, match="rounding would break the inverse"):
            block()
        inside = block("inside", dtype="float32")
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(4), inside, keras.layers.Dense(1)]
        )
        model.compile("adam", "mse")
        model.fit(*regression(), verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.layers[0].compute_dtype == "bfloat16"
    x = np.random.default_rng(2).normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(inside.inverse(inside(x)).x, x, atol=1e-5)


def summary(model, **options):
    lines = []
    model.summary(print_fn=lines.append, **options)
    return "\n".join(lines)


def test_summary_lists_every_block_with_parameters_and_bound():
    model = density()
    assert "Lip(g)" not in summary(model)
    model.build((None, 2))
    text = summary(model, line_length=70)
    assert "Total params" in text and max(map(len, text.splitlines())) <= 70
    for name in ("first", "second"):
        (row,) = [line for line in text.splitlines() if f"│ {name} " in line]
        bound = model.lipschitz_bounds()[name]
        # 2·8 + 8 and 8·2 + 2.
        assert "2 → 8 → 2" in row and " 42 " in row and f"{bound:.4f}" in row
    assert "spectral_dense" not in text
    expanded = summary(model, line_length=100, expand_nested=True)
    for layer in layers.spectral_layers(model):
        (row,) = [line for line in expanded.splitlines() if f"└ {layer.name} " in line]
        assert f"{layer.lipschitz_bound():.4f}" in row
        assert "×".join(map(str, layer.kernel.shape)) in row
