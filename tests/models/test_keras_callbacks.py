"""Tests callbacks in ``fit``: certificates, spectra, pictures, averages, NaN."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_examples import block, density, points, regression, spectral_norms, stock

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.layers.finiteness import layers_not_finite


def test_certificate_is_a_figure_of_the_epoch_in_any_model():
    for model, data in ((density(), (points(),)), (stock("adam"), regression())):
        if not model.compiled:
            model.compile("adam")
        certificate = irn.callbacks.Certificate(every=2)
        history = model.fit(*data, epochs=2, verbose=0, callbacks=[certificate]).history
        (figure,) = history["certified_lipschitz"]
        # The block has two layers of 0.9; the spectral vectors may lag behind the last step.
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
    with pytest.raises(ValueError, match="takes a context; Pictures received none"):
        pictures.set_model(conditional)
    with pytest.raises(ValueError, match="models of this package; received Functional"):
        stock("adam").fit(*regression(), verbose=0, callbacks=[pictures])


def test_every_callback_of_any_model_serves_one_without_a_density(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path / "events"))
    log = tmp_path / "history.jsonl"
    stock("adam").fit(
        *regression(),
        verbose=0,
        callbacks=[
            irn.callbacks.Certificate(),
            irn.callbacks.Spectra(writer),
            irn.callbacks.TerminateOnNaN(),
            irn.callbacks.Validation(*regression()),
            irn.callbacks.History(log),
            irn.callbacks.Scalars(writer),
            irn.callbacks.Progress(steps=1),
        ],
    )
    writer.close()
    (line,) = map(json.loads, log.read_text().splitlines())
    assert {"loss", "val_loss", "largest_sigma", "certified_lipschitz"} < set(line)
    (file,) = (tmp_path / "events").iterdir()
    events = list(tf.compat.v1.train.summary_iterator(str(file)))
    tags = {value.tag for event in events for value in event.summary.value}
    assert {"loss", "val_loss", "learning_rate"} < tags
    assert not any(tag.startswith("prior") for tag in tags)


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
    # Keras starts the average with the weights after the first step.
    average = seen["after"][0]
    for weights in seen["after"][1:]:
        average = [momentum * one + (1 - momentum) * two for one, two in zip(average, weights)]
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(average, seen["after"][-1]))
    for one, two in zip(seen["validated"], average, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert max(seen["norms"]) <= 0.9 * 1.001
    for one, two in zip(seen["restored"], seen["after"][-1], strict=True):
        np.testing.assert_array_equal(one, two)
    # When fit ends, Keras leaves the average in the model.
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
    # The evaluation step is the one of Keras again.
    step = model.test_function
    model.evaluate(x, y, verbose=0, callbacks=callbacks)
    assert model.test_function is step


def test_ema_asks_for_an_average():
    with pytest.raises(ValueError, match="use_ema=True"):
        stock("adam").fit(*regression(), verbose=0, callbacks=[irn.callbacks.EMA()])


def test_the_layer_that_returned_nan_is_named_by_fit_alone():
    model = density()
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(points(), verbose=0)
    # This weight is finite, but its exponential is not.
    model.flow.parts[0].log_scale.assign([100.0, 0.0])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        model.fit(points(), verbose=0)
    message = caught.value.message
    assert message.startswith("norm returned NaN or Inf") and "learning rate" in message
    assert "Weights that are not finite" not in message and "\n" not in message
    model.flow.parts[1].g.parts[0].kernel.assign(np.full((2, 8), np.nan))
    model.flow.parts[0].log_scale.assign([0.0, 0.0])
    message = "The weights of first are not finite.$"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.fit(points(), verbose=0)


@tf.custom_gradient
def broken(x):
    """Returns a finite value whose gradient is not finite."""
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
        def _forward_and_log_det(self, x, *, seed, context):
            y, log_det = super()._forward_and_log_det(x, seed=seed, context=context)
            return y, broken(log_det)

    model = irn.models.DensityModel([block("first"), Broken(name="culprit")], seed=0)
    model.compile(keras.optimizers.SGD(0.1))
    with pytest.warns(UserWarning, match="Batch 1: max_gradient not finite.*culprit"):
        history = model.fit(
            *(points(),), batch_size=16, verbose=0, callbacks=[irn.callbacks.TerminateOnNaN()]
        )
    assert np.isfinite(history.history["loss"][0])
