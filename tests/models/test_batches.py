"""Every kind of batched data gives the same training, and a call that fails leaves no trace."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf as irn
from iresnet_tf import layers, models

X = np.random.default_rng(0).normal(size=(48, 2)).astype("float32")
TARGETS = {
    "density": (),
    "conditional": (np.random.default_rng(1).normal(size=(48, 3)).astype("float32"),),
    "hybrid": (np.arange(48) % 3,),
    "classifier": (np.arange(48) % 3,),
}


def made(kind):
    keras.utils.set_random_seed(0)
    options = {"context_shape": (3,)} if kind == "conditional" else {}
    block = layers.ResidualBlock(layers.Contraction.mlp((4,), **options), irn.log_det.Exact())
    stack = [layers.ActNorm(), block]
    if kind == "density":
        model = models.DensityModel(stack, seed=0)
    elif kind == "conditional":
        model = models.ConditionalDensityModel(stack, seed=0)
    else:
        make = models.Classifier if kind == "classifier" else models.HybridModel
        model = make(stack, 3, seed=0)
    model.compile(keras.optimizers.SGD(1e-2))
    return model


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return tuple(array[16 * index : 16 * index + 16] for array in self.arrays)


def batches(arrays):
    yield from (Batches(*arrays)[index] for index in range(3))


def through_numpy(*row):
    return tuple(tf.numpy_function(lambda value: value, [part], part.dtype) for part in row)


def ragged(array):
    return tf.ragged.constant(array.tolist(), dtype=array.dtype) if array.ndim > 1 else array


def unknown(arrays):
    signature = tuple(tf.TensorSpec([None] * array.ndim, array.dtype) for array in arrays)
    return tf.data.Dataset.from_generator(lambda: batches(arrays), output_signature=signature)


FEEDS = {
    "unknown rank": lambda arrays: tf.data.Dataset.from_generator(
        lambda: batches(arrays), output_types=tuple(tf.as_dtype(a.dtype) for a in arrays)
    ),
    "unknown axes": unknown,
    "numpy function": lambda arrays: (
        tf.data.Dataset.from_tensor_slices(arrays).map(through_numpy).batch(16)
    ),
    "ragged": lambda arrays: tf.data.Dataset.from_tensor_slices(tuple(map(ragged, arrays))).batch(
        16
    ),
    "generator": batches,
    "PyDataset": lambda arrays: Batches(*arrays),
}


def results(kind, feed):
    model, arrays = made(kind), (X, *TARGETS[kind])
    history = model.fit(feed(arrays), validation_data=feed(arrays), shuffle=False, verbose=0)
    assert model.optimizer.iterations == 3
    figures = model.evaluate(feed(arrays), verbose=0, return_dict=True)
    return history.history, figures, model.predict(feed(arrays), verbose=0)


@pytest.fixture(scope="module")
def expected():
    """Returns the results with a dataset of known shapes, by kind of model."""

    def known(arrays):
        return tf.data.Dataset.from_tensor_slices(arrays).batch(16)

    return {kind: results(kind, known) for kind in ("density", "conditional", "hybrid")}


@pytest.mark.parametrize("feed", FEEDS)
def test_a_density_takes_batches_of_every_kind(feed, expected):
    tf.nest.map_structure(
        np.testing.assert_array_equal, results("density", FEEDS[feed]), expected["density"]
    )


@pytest.mark.parametrize(
    ("kind", "feed"),
    [("conditional", "unknown rank"), ("hybrid", "generator"), ("hybrid", "PyDataset")],
)
def test_targets_and_contexts_come_with_their_batches(kind, feed, expected):
    tf.nest.map_structure(np.testing.assert_array_equal, results(kind, FEEDS[feed]), expected[kind])


def test_a_generator_gives_every_batch_once():
    yielded, trained, model = [], [], made("density")
    step = model.train_step

    def recorded(data):
        tf.py_function(lambda x: trained.append(float(x[0, 0])), [data[0]], [])
        return step(data)

    def endless():
        for index in itertools.count():
            yielded.append(float(index))
            yield X[:8] * [0.0, 1.0] + [index, 0.0]

    model.train_step, generator = recorded, endless()
    model.fit(generator, steps_per_epoch=3, epochs=2, verbose=0)
    model.fit(generator, steps_per_epoch=2, verbose=0)
    assert trained == yielded == list(range(8))


def test_what_a_generator_cannot_serve_is_refused():
    model = made("density")
    with pytest.raises(ValueError, match="steps_per_epoch"):
        model.fit(batches((X,)), epochs=2, verbose=0)
    with pytest.raises(ValueError, match="no examples"):
        model.fit(iter(()), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no more batches"):
        model.fit(batches((X,)), epochs=3, steps_per_epoch=2, verbose=0)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (tf.ones((4, 3)), r"\(2,\).*received data of shape \(None, 3\)"),
        (tf.ragged.constant([[1.0, 2.0], [1.0]]), "ragged batch have different shapes"),
    ],
)
def test_unknown_shapes_that_turn_out_wrong_are_refused(batch, message):
    model = made("density")
    model.build((None, 2))
    data = tf.data.Dataset.from_tensors(batch)
    if not isinstance(batch, tf.RaggedTensor):
        data = data.map(through_numpy).map(lambda x: x)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        model.fit(data, verbose=0)


def one_hot():
    return np.eye(3)[np.arange(48) % 3]


FAILING = {
    "rank": ("density", lambda model: model.fit(X[:, 0], verbose=0)),
    "weights": ("density", lambda model: model.fit(X[:, :1], sample_weight=X[:5, 0])),
    "NaN": ("density", lambda model: model.fit(X * np.nan, verbose=0)),
    "one-hot": ("hybrid", lambda model: model.fit(X, one_hot(), verbose=0)),
    "no classes": ("classifier", lambda model: model.fit(unknown((X,)), verbose=0)),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_call_that_fails_changes_nothing(name):
    kind, failing = FAILING[name]
    found = []
    for fails in (False, True):
        model = made(kind)
        if fails:
            with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
                failing(model)
        model.fit(X, *TARGETS[kind], shuffle=False, verbose=0)
        found.append([weight.numpy() for weight in model.weights])
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


def test_a_first_trace_that_fails_is_undone():
    """Labels of another kind fail inside Keras, after variables were made."""
    model = made("classifier")
    y = TARGETS["classifier"][0]
    model.compile(keras.optimizers.SGD(1e-2), loss="sparse_categorical_crossentropy")
    with pytest.raises(ValueError):
        model.fit(X * 2.0, one_hot(), verbose=0)
    model.fit(X, y, shuffle=False, verbose=0)
    other = made("classifier")
    other.compile(keras.optimizers.SGD(1e-2), loss="sparse_categorical_crossentropy")
    other.fit(X, y, shuffle=False, verbose=0)
    for one, same in zip(model.weights, other.weights):
        np.testing.assert_array_equal(one, same)


def test_a_shape_that_does_not_fit_builds_no_layer():
    g = layers.Contraction.conv(2, (3,))
    stack = [layers.Center(1.0), layers.Squeeze(), layers.ActNorm(), layers.ResidualBlock(g)]
    model = models.DensityModel(stack)
    model.compile("sgd")
    for shape in ((4, 5, 5, 1), (4, 16)):
        with pytest.raises(ValueError, match=r"squeeze.*received"):
            model.fit(np.ones(shape), verbose=0)
    model.fit(np.random.default_rng(0).normal(size=(4, 4, 4, 1)), verbose=0)


def test_masked_values_and_other_dtypes_are_refused():
    masked, model = np.ma.masked_greater(X, 1.0), made("density")
    model.fit(X, verbose=0)
    for use in (model, model.fit, model.evaluate, model.predict, model.log_prob):
        with pytest.raises(ValueError, match="no place for masked values"):
            use(masked)
    with pytest.raises(ValueError, match=r"computes in float32.*in float64"):
        models.DensityModel([layers.ActNorm(dtype="float64")])
    with pytest.raises(ValueError, match="received format='h5'"):
        model.export("nowhere", format="h5")
