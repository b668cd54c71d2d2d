"""What a user of stock Keras expects: own models, callbacks, averages, summary, precision, NaN."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.data import digits
from iresnet_tf.layers.finiteness import layers_not_finite


def block(name=None, units=(8,), **options):
    g = layers.Contraction.mlp(units, activation="elu", **options)
    return layers.ResidualBlock(g, irn.log_det.Exact(), name=name)


def density(**options):
    parts = [layers.ActNorm(name="norm"), block("first"), block("second")]
    return irn.models.DensityModel(parts, seed=0, **options)


def points(count=64):
    return np.random.default_rng(0).normal(size=(count, 2)).astype("float32") * [2.0, 0.5]


def stock(optimizer):
    """A user's own functional model: a block between stock layers."""
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, name="before")(inputs)
    outputs = keras.layers.Dense(1, name="after")(block("inside")(hidden))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, "mse")
    return model


def regression(count=64):
    x = np.random.default_rng(1).normal(size=(count, 3)).astype("float32")
    return x, 5.0 * x[:, :1] ** 2


def spectral_norms(model):
    """By SVD, of the kernels that the layers apply."""
    kernels = [layer.constrained_kernel().numpy() for layer in layers.spectral_layers(model)]
    return [np.linalg.svd(kernel, compute_uv=False)[0] for kernel in kernels]


# Another estimator or solver.


def test_steps_follow_a_block_s_estimator():
    """Compiled ones too: predict and evaluate after it was exchanged, against `Exact` by hand."""
    model = density()
    model.compile("sgd")
    model.fit(points(), epochs=1, verbose=0)
    for block in layers.residual_blocks(model):
        block.log_det = irn.log_det.PowerSeries(terms=1)
    rough = model.predict(points(), verbose=0), model.evaluate(points(), verbose=0)[0]
    for block in layers.residual_blocks(model):
        block.log_det.terms = 9
    better = model.predict(points(), verbose=0)
    for block in layers.residual_blocks(model):
        block.log_det = irn.log_det.Exact()
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


# Own models.


class Own(keras.Model):
    """A user's subclass, its blocks in a list."""

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
        flow = [layers.ActNorm(), layers.ResidualBlock(g, irn.log_det.PowerSeries(2))]
        model = irn.models.DensityModel(flow, preprocessing=[layers.Dequantize(17)], seed=0)
        model.compile(keras.optimizers.Adam(1e-2))
        options = {"batch_size": 90, "shuffle": False} if data is x else {}
        model.fit(data, verbose=0, **options)
        weights.append([each.numpy() for each in model.trainable_variables])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# Callbacks in plain `fit`.


def test_certificate_is_a_figure_of_the_epoch_in_any_model():
    for model, data in ((density(), (points(),)), (stock("adam"), regression())):
        if not model.compiled:
            model.compile("adam")
        certificate = irn.callbacks.Certificate(every=2)
        history = model.fit(*data, epochs=2, verbose=0, callbacks=[certificate]).history
        (figure,) = history["certified_lipschitz"]
        # Two layers of 0.9; the vectors of a last step may lag.
        assert figure == pytest.approx(max(layers.lipschitz_bounds(model).values()), rel=0.05)
        assert figure < 0.9**2 * 1.05


@pytest.mark.parametrize("stop, epochs", [(False, 3), (True, 1)])
def test_certificate_names_the_block_and_stops_if_asked_to(stop, epochs):
    def foreign(x):
        return 3.0 * x

    model = keras.Sequential(
        [keras.Input((3,)), layers.ResidualBlock(keras.layers.Lambda(foreign), name="loose")]
    )
    model.compile("sgd", "mse")
    x = regression()[0]
    with pytest.warns(UserWarning, match="loose"):
        history = model.fit(
            *(x, x), epochs=3, verbose=0, callbacks=[irn.callbacks.Certificate(stop)]
        )
    assert len(history.epoch) == epochs


def test_spectra_are_figures_of_any_model(tmp_path):
    model = stock("adam")
    writer = tf.summary.create_file_writer(str(tmp_path))
    history = model.fit(*regression(), verbose=0, callbacks=[irn.callbacks.Spectra(writer)])
    largest = max(
        min(np.linalg.svd(layer.kernel, compute_uv=False)[0], 0.9)
        for layer in layers.spectral_layers(model)
    )
    assert history.history["largest_sigma"] == [pytest.approx(largest, rel=0.02)]
    writer.close()
    (file,) = tmp_path.iterdir()
    events = tf.compat.v1.train.summary_iterator(str(file))
    assert "sigma" in {value.tag for event in events for value in event.summary.value}


def test_pictures_go_to_a_folder_without_a_run(tmp_path):
    model = density()
    model.compile("adam")
    pictures = irn.callbacks.Pictures(points(), tmp_path / "pictures", every=2)
    model.fit(points(), epochs=3, batch_size=32, verbose=0, callbacks=[pictures])
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["density-00000004.png"]
    with pytest.raises(ValueError, match="folder, a writer"):
        irn.callbacks.Pictures(points())
    pictures.data = points().reshape(-1, 4, 2, 4)
    with pytest.raises(ValueError, match="levels"):
        model.fit(points(), epochs=2, verbose=0, callbacks=[pictures])
    conditional = irn.models.ConditionalDensityModel([block(context_shape=(3,))])
    with pytest.raises(ValueError, match="take no context"):
        pictures.set_model(conditional)


@pytest.mark.parametrize("make", [density, stock], ids=["density", "stock"])
def test_ema_validates_the_average_and_leaves_it_constrained(make):
    momentum = 0.5
    optimizer = keras.optimizers.SGD(0.02, use_ema=True, ema_momentum=momentum)
    if make is density:
        model, data = density(), (points(), None)
        model.compile(optimizer)
    else:
        model, data = stock(optimizer), regression()
    seen = {"after": [], "validated": []}

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen["after"].append([each.numpy() for each in model.trainable_variables])

        def on_test_batch_end(self, batch, logs=None):
            seen["validated"] = [each.numpy() for each in model.trainable_variables]
            seen["norms"] = spectral_norms(model)

        def on_epoch_end(self, epoch, logs=None):
            seen["restored"] = [each.numpy() for each in model.trainable_variables]

    options = {"batch_size": 16, "verbose": 0, "validation_data": data}
    model.fit(*data, callbacks=[irn.callbacks.EMA(), Watch()], **options)
    # Keras begins the average with the weights after the first step.
    average = seen["after"][0]
    for weights in seen["after"][1:]:
        average = [momentum * one + (1 - momentum) * two for one, two in zip(average, weights)]
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(average, seen["after"][-1]))
    for one, two in zip(seen["validated"], average, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert max(seen["norms"]) <= 0.9 * 1.001
    for one, two in zip(seen["restored"], seen["after"][-1], strict=True):
        np.testing.assert_array_equal(one, two)
    # Keras ends with the average in the model.
    for one, two in zip(model.trainable_variables, average, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert max(spectral_norms(model)) <= 0.9 * 1.001


def test_ema_puts_the_weights_back_where_an_evaluation_fails():
    x, y = regression()
    model = stock(keras.optimizers.SGD(0.02, use_ema=True, ema_momentum=0.5))
    last = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            last[:] = [each.numpy() for each in model.weights]

    def broken():
        yield x[:8], y[:8]
        raise OSError("the disk is gone")

    specs = tuple(tf.TensorSpec([None, *each.shape[1:]], each.dtype) for each in (x, y))
    held_out = tf.data.Dataset.from_generator(broken, output_signature=specs)
    callbacks = [irn.callbacks.EMA(), Watch()]
    with pytest.raises(tf.errors.OpError, match="the disk is gone"):
        model.fit(*(x, y), batch_size=16, verbose=0, validation_data=held_out, callbacks=callbacks)
    for weight, value in zip(model.weights, last, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.path)
    averages = model.optimizer._model_variables_moving_average
    assert np.abs(model.trainable_variables[0] - averages[0]).max() > 1e-4
    # The step of evaluation is Keras's own again.
    step = model.test_function
    model.evaluate(x, y, verbose=0, callbacks=callbacks)
    assert model.test_function is step


def test_ema_asks_for_an_average():
    with pytest.raises(ValueError, match="use_ema=True"):
        stock("adam").fit(*regression(), verbose=0, callbacks=[irn.callbacks.EMA()])


# NaN.


def test_the_layer_that_returned_nan_is_named_by_fit_alone():
    model = density()
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(points(), verbose=0)
    # A finite weight whose exponential is not.
    model.flow.parts[0].log_scale.assign([100.0, 0.0])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        model.fit(points(), verbose=0)
    message = caught.value.message
    assert message.startswith("norm returned NaN or Inf") and "learning rate" in message
    assert "Weights that are not finite" not in message and "\n" not in message
    model.flow.parts[1].g.parts[0].kernel.assign(np.full((2, 8), np.nan))
    model.flow.parts[0].log_scale.assign([0.0, 0.0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="not finite: of first.$"):
        model.fit(points(), verbose=0)


@tf.custom_gradient
def broken(x):
    """A finite value with a gradient that is none."""
    return x, lambda upstream: upstream * np.nan


def test_terminate_on_nan_names_the_layers_that_it_reached():
    inputs = keras.Input((3,))
    hidden = block("inside")(keras.layers.Dense(4, name="before")(inputs))
    hidden = keras.layers.Lambda(broken)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, name="after")(hidden))
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="Batch 2: loss not.* is before, the last after .3 in"):
        model.fit(
            *regression(), batch_size=16, verbose=0, callbacks=[irn.callbacks.TerminateOnNaN()]
        )
    assert int(model.optimizer.iterations) == 2
    assert layers_not_finite(model) == ["before", "inside", "after"]
    model.get_layer("after").set_weights([np.ones((4, 1)), np.zeros(1)])
    assert layers_not_finite(model) == ["before", "inside"]


def test_terminate_on_nan_sees_the_gradient_of_a_density():
    class Broken(layers.ActNorm):
        def transform(self, x, seed):
            y, log_det = super().transform(x, seed)
            return y, broken(log_det)

    model = irn.models.DensityModel([block("first"), Broken(name="culprit")], seed=0)
    model.compile(keras.optimizers.SGD(0.1))
    with pytest.warns(UserWarning, match="Batch 1: max_gradient not finite.*culprit"):
        history = model.fit(
            *(points(),), batch_size=16, verbose=0, callbacks=[irn.callbacks.TerminateOnNaN()]
        )
    assert np.isfinite(history.history["loss"][0])


# Precision.


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


# Summary.


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
