"""Tests the splits, the builder and the preparation of the digits."""

import random

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from sklearn import datasets

from iresnet_tf.data import digits, sources
from iresnet_tf.data.source import SPLITS


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    digits.load("train", data_dir=folder)
    return folder


def expected_digits(split):
    source = datasets.load_digits()
    permutation = np.random.RandomState(0).permutation(1797)
    indices = {"test": permutation[:359], "train": permutation[359:]}[split]
    return source.images[indices][..., None], source.target[indices]


@pytest.mark.parametrize("split, count", [("train", 1438), ("test", 359)])
def test_split_is_the_fixed_permutation_of_scikit_learns_digits_in_order(data_dir, split, count):
    images, labels = digits.load(split, data_dir=data_dir)
    expected_images, expected_labels = expected_digits(split)
    assert images.shape == (count, 8, 8, 1) and labels.shape == (count,)
    np.testing.assert_array_equal(images, expected_images)
    np.testing.assert_array_equal(labels, expected_labels)


def test_digits_have_17_levels_and_10_classes(data_dir):
    images, labels = digits.load("train", data_dir=data_dir)
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(np.unique(images), np.arange(17))
    np.testing.assert_array_equal(np.unique(labels), np.arange(10))
    assert digits.LEVELS == 17


def test_digits_builder_describes_itself_and_serves_a_supervised_data_set(data_dir):
    builder = tfds.builder("digits", data_dir=data_dir)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 1438,
        "test": 359,
    }
    assert builder.info.description and builder.info.citation and builder.info.homepage
    image_spec, label_spec = builder.as_dataset(split="test", as_supervised=True).element_spec
    assert image_spec == tf.TensorSpec([8, 8, 1], tf.uint8)
    assert label_spec == tf.TensorSpec([], tf.int64)


def test_digits_accept_a_tfds_split_expression(data_dir):
    images, _ = digits.load("train[:10]", data_dir=data_dir)
    np.testing.assert_array_equal(images, expected_digits("train")[0][:10])


def test_digits_reject_an_unknown_split(data_dir):
    with pytest.raises(ValueError, match="validation"):
        digits.load("validation", data_dir=data_dir)


def test_digits_use_the_files_of_a_process_that_prepared_them_first(tmp_path, monkeypatch):
    prepare = digits.Digits.download_and_prepare

    def lose_the_race(builder, **arguments):
        prepare(digits.Digits(data_dir=tmp_path), **arguments)
        raise FileExistsError("renamed by another process")

    monkeypatch.setattr(digits.Digits, "download_and_prepare", lose_the_race)
    images, _ = digits.load("test", data_dir=tmp_path)
    np.testing.assert_array_equal(images, expected_digits("test")[0])


def test_digits_pass_on_a_failure_to_prepare(tmp_path, monkeypatch):
    def fail(builder, **arguments):
        raise OSError("disk full")

    monkeypatch.setattr(digits.Digits, "download_and_prepare", fail)
    with pytest.raises(OSError, match="disk full"):
        digits.load("test", data_dir=tmp_path)


def test_digits_leave_nothing_behind_when_preparation_is_interrupted(tmp_path, monkeypatch):
    def interrupted(builder, source, indices):
        raise RuntimeError("interrupted")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(digits.Digits, "_generate_examples", interrupted)
        with pytest.raises(RuntimeError, match="interrupted"):
            digits.load("test", data_dir=tmp_path)
    images, _ = digits.load("test", data_dir=tmp_path)
    assert len(images) == 359


def test_digits_name_the_folder_that_is_no_complete_data_set(tmp_path):
    folder = tmp_path / "digits" / "1.0.0"
    folder.mkdir(parents=True)
    with pytest.raises(RuntimeError, match=str(folder)):
        digits.load("test", data_dir=tmp_path)


def test_preparing_the_digits_keeps_standard_output_clean(tmp_path, capfd):
    digits.load("test", data_dir=tmp_path)
    assert capfd.readouterr().out == ""


def test_loading_the_digits_leaves_the_global_generators_alone(tmp_path):
    for _ in ("preparing", "prepared"):
        before = random.getstate(), np.random.get_state()[1].copy()
        digits.load("test", data_dir=tmp_path)
        assert random.getstate() == before[0]
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_digits_default_to_the_default_folder_of_tfds(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    digits.load("test")
    assert (tmp_path / "digits" / "1.0.0").is_dir()


def test_a_stream_with_classes_keeps_them_with_their_images(data_dir):
    source = sources.get("digits", data_dir=data_dir, validation_examples=100)
    x, y = source.examples("train")
    known = {image.tobytes(): label for image, label in zip(x, y)}
    for images, labels in source.stream(64, seed=2).take(25):
        for image, label in zip(images.numpy(), labels.numpy()):
            assert known[image.tobytes()] == label


def test_the_splits_share_no_example(data_dir):
    source = sources.get("digits", data_dir=data_dir, validation_examples=100)
    train, validation, test = (source.examples(split)[0] for split in SPLITS)
    assert (len(train), len(validation), len(test)) == (1338, 100, 359)
    whole = sources.get("digits", data_dir=data_dir).examples("train")[0]
    np.testing.assert_array_equal(np.concatenate([train, validation]), whole)


def test_images_can_be_padded_for_a_larger_grid(data_dir):
    x, _ = sources.get("digits", data_dir=data_dir, pad_to=11).examples("test")
    plain, _ = sources.get("digits", data_dir=data_dir).examples("test")
    assert x.shape == (359, 11, 11, 1)
    np.testing.assert_array_equal(x[:, 1:9, 1:9], plain)
    assert x.sum() == plain.sum()
