"""Image sets of TensorFlow Datasets: real ones where they are prepared, else none."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from iresnet_tf.data import images, sources

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data" / "tfds"
DATA_DIR = os.environ.get("TFDS_DATA_DIR", str(SHARED))


def prepared(name):
    return tfds.builder(name, data_dir=DATA_DIR).is_prepared()


def raw(name, split):
    """The first examples, one by one, as TFDS gives them."""
    dataset = tfds.load(name, split=split, data_dir=DATA_DIR, shuffle_files=False)
    return list(tfds.as_numpy(dataset.take(20)))


@pytest.mark.parametrize(
    "name, shape, train, test",
    [("mnist", (28, 28, 1), 60_000, 10_000), ("cifar10", (32, 32, 3), 50_000, 10_000)],
)
def test_real_images_come_as_tfds_has_them(name, shape, train, test):
    if not prepared(name):
        pytest.skip(f"{name} is not prepared in {DATA_DIR}")
    source = sources.get(name, DATA_DIR, validation_examples=1000)
    assert (source.event_shape, source.levels, source.classes) == (shape, 256, 10)
    x, y = source.examples("test")
    assert x.shape == (test, *shape) and x.dtype == np.float32
    for example, image, label in zip(raw(name, "test"), x, y):
        np.testing.assert_array_equal(example["image"], image)
        assert example["label"] == label
    assert len(source.examples("train")[0]) == train - 1000
    held_out = raw(name, f"train[{train - 1000}:]")
    np.testing.assert_array_equal(held_out[0]["image"], source.examples("validation")[0][0])
    batch, labels = next(iter(source.stream(32, seed=1)))
    again, _ = next(iter(source.stream(32, seed=1)))
    assert batch.shape == (32, *shape) and labels.shape == (32,)
    np.testing.assert_array_equal(batch, again)


def test_fewer_bits_keep_the_upper_ones():
    if not prepared("mnist"):
        pytest.skip(f"mnist is not prepared in {DATA_DIR}")
    source = sources.get("mnist", DATA_DIR, bits=5)
    whole = sources.get("mnist", DATA_DIR).examples("test")[0]
    assert source.levels == 32
    np.testing.assert_array_equal(source.examples("test")[0], np.floor(whole / 8.0))


@pytest.mark.parametrize("name", [*images.NAMES, "tfds:fashion_mnist"])
def test_a_set_that_is_not_there_is_named_with_its_folder(name, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        sources.get(name, tmp_path)
    message = str(raised.value)
    full_name = images.NAMES.get(name, name.removeprefix("tfds:"))
    assert full_name in message and str(tmp_path) in message and "--data-dir" in message


def test_a_set_that_tfds_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="no set 'no_such_images'"):
        sources.get("tfds:no_such_images", tmp_path)


def test_a_set_without_images(tmp_path):
    tfds.testing.DummyDataset(data_dir=tmp_path).download_and_prepare()
    with pytest.raises(ValueError, match="no 8-bit images of one shape"):
        sources.get("tfds:dummy_dataset", tmp_path)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="cifar100"):
        sources.get("cifar")
