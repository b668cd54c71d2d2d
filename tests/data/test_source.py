"""Tests user-defined sources, and the shuffled stream of stored examples."""

import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf as irn
from iresnet_tf.data import ArraySource, Examples, Source, sources


def test_the_shuffled_stream_visits_every_example_once_a_pass():
    examples = np.arange(10, dtype=np.float32)
    source = ArraySource("ten", {"train": (examples, None)})
    batches = [batch.numpy() for batch in source.stream(4, seed=1).take(5)]
    flat = np.concatenate(batches)
    for one_pass in (flat[:10], flat[10:]):
        assert sorted(one_pass) == list(range(10))
    skipped = [batch.numpy() for batch in source.stream(4, seed=1, skip=3).take(2)]
    np.testing.assert_array_equal(skipped, batches[3:])


X = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)


class Diagonal(Source):
    """A source with only the required methods: points on a line with a little noise."""

    def __init__(self):
        super().__init__("diagonal", (2,))

    def stream(self, batch_size, *, seed, skip=0, augmentation=None):
        def batch(index):
            key = tf.stack([seed, tf.cast(index, tf.int32)])
            return tf.random.stateless_normal([batch_size, 2], key) * [0.1, 1.0]

        return tf.data.Dataset.counter(start=skip).map(batch)

    def examples(self, split, count=None):
        return Examples(X[:count], None)


def small(steps=4):
    fields = ["model.blocks=1", "model.width=4", "model.depth=1", "intra_op_threads=none"]
    preset = irn.presets.get("toy-moons", [*fields, "batch_size=20"])
    return preset.model_copy(update={"steps": steps, "steps_per_epoch": 2})


@pytest.mark.parametrize(
    "source", [Diagonal(), ArraySource("mine", {"train": (X[40:], None), "test": (X[:40], None)})]
)
def test_a_source_of_ones_own_trains_resumes_and_evaluates(source, tmp_path):
    result = irn.training.train(small(), tmp_path / "run", source=source)
    run = irn.training.RunFolder(tmp_path / "run")
    assert run.read_config()["preset"].data.name == source.name
    model = irn.load(run.path)
    measured = irn.analysis.evaluate(model, *source.examples("test"))
    assert measured.nll.mean == pytest.approx(result["nll"]["mean"], rel=1e-6)
    before = [weight.numpy() for weight in model.weights]
    run.latest_checkpoints()[0].unlink()
    run.model.unlink()
    again = irn.training.resume(run.path, source=source)
    assert again["nll"] == result["nll"]
    for weight, value in zip(irn.load(run.path).weights, before):
        if "seed_state" not in weight.path:
            np.testing.assert_array_equal(weight, value)
    with pytest.raises(ValueError, match="source=source"):
        irn.training.resume(run.path)


def test_a_registered_source_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(sources, "_KINDS", list(sources._KINDS))

    @irn.data.register
    class Registered(Diagonal):
        @classmethod
        def names(cls):
            return ("diagonal",)

        @classmethod
        def open(cls, name, *, data_dir=None, **options):
            assert not options
            return cls()

    assert "diagonal" in irn.data.names()
    assert isinstance(irn.data.get("diagonal"), Registered)
    assert irn.data.get("toy-moons").name == "toy-moons"


def test_arrays_have_classes_levels_and_the_splits_that_are_given():
    images = np.random.default_rng(0).integers(0, 17, (30, 4, 4, 1)).astype(np.uint8)
    classes = np.arange(30) % 3
    parts = {"train": (images[10:], classes[10:]), "test": (images[:10], classes[:10])}
    source = ArraySource("mine", parts, levels=17, classes=3)
    assert source.event_shape == (4, 4, 1)
    x, y = source.examples("test", 5)
    assert x.dtype == np.float32 and y.dtype == np.int32
    np.testing.assert_array_equal(x, images[:5])
    np.testing.assert_array_equal(y, classes[:5])
    known = {image.tobytes(): label for image, label in zip(images.astype(np.float32), classes)}
    for batch, labels in source.stream(8, seed=1, augmentation=None).take(5):
        for image, label in zip(batch.numpy(), labels.numpy()):
            assert known[image.tobytes()] == label
    assert source.initial_examples(6, seed=0).shape == (6, 4, 4, 1)
    with pytest.raises(ValueError, match="held out for validation"):
        source.examples("validation")
    with pytest.raises(ValueError, match="A split is one of"):
        source.examples("held-out")
    points = ArraySource("points", {"train": (X, None), "test": (X, None)})
    with pytest.raises(ValueError, match="no images to augment"):
        points.stream(8, seed=0, augmentation="flip")
