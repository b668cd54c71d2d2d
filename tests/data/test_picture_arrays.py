"""Tests pictures in NumPy arrays and in ``.npz`` and ``.npy`` files."""

import numpy as np
import pytest
import tensorflow as tf

import iresnet_tf as irn


def pictures(count, first=0, shape=(8, 8, 3), dtype=np.uint8):
    """Returns pictures of one level each: ``first``, ``first + 1``, …."""
    levels = np.arange(first, first + count, dtype=dtype)
    return np.broadcast_to(levels.reshape(-1, *(1,) * len(shape)), (count, *shape)).copy()


def levels(source, split):
    return source.examples(split).x.reshape(-1, np.prod(source.event_shape))[:, 0].astype(int)


def test_arrays_are_divided_and_keep_their_classes():
    x = pictures(50)
    source = irn.data.image_arrays(x, np.arange(50) % 2)
    train, test = levels(source, "train"), levels(source, "test")
    assert sorted([*train, *test]) == list(range(50))
    assert [np.sum(test % 2 == each) for each in (0, 1)] == [5, 5]
    for split in ("train", "test"):
        np.testing.assert_array_equal(source.examples(split).y, levels(source, split) % 2)
    batch, classes = next(iter(source.stream(4, seed=0)))
    np.testing.assert_array_equal(batch[:, 0, 0, 0] % 2, classes)
    assert (source.levels, source.classes, source.event_shape) == (256, 2, (8, 8, 3))


def test_given_parts_are_the_splits():
    source = irn.data.image_arrays(
        pictures(6), test=(pictures(3, 100), None), validation=(pictures(2, 200), None)
    )
    assert sorted(levels(source, "train")) == list(range(6))
    assert sorted(levels(source, "test")) == [100, 101, 102]
    assert sorted(levels(source, "validation")) == [200, 201]
    assert source.classes is None and source.examples("test").y is None


@pytest.mark.parametrize(
    "labels, names",
    [
        ([7, -1, 7, -1, 7, -1], ("-1", "7")),
        (["dog", "cat"] * 3, ("cat", "dog")),
        ([True, False] * 3, ("False", "True")),
        ([[3], [1]] * 3, ("1", "3")),
    ],
)
def test_classes_are_numbered_in_sorted_order(labels, names):
    source = irn.data.image_arrays(pictures(6), np.array(labels))
    assert source.class_names == names
    for split in ("train", "test"):
        # The even pictures have the class of the later name.
        np.testing.assert_array_equal(source.examples(split).y, 1 - levels(source, split) % 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_integers_of_every_type_are_levels(dtype):
    source = irn.data.image_arrays(pictures(10, 240, dtype=dtype))
    assert set(levels(source, "train")) | set(levels(source, "test")) == set(range(240, 250))


def test_pictures_without_an_axis_of_channels_get_one_and_booleans_are_black_and_white():
    x = np.zeros((5, 4, 4), bool)
    x[:, 1:3] = True
    source = irn.data.image_arrays(x)
    assert source.event_shape == (4, 4, 1)
    np.testing.assert_array_equal(source.examples("test").x[0, :, 0, 0], [0, 255, 255, 0])


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_arrays_of_any_channels_are_resized_as_tensorflow_does(channels):
    x = np.random.default_rng(0).integers(0, 256, (5, 24, 12, channels)).astype(np.uint8)
    source = irn.data.image_arrays(x, size=8, test_fraction=0.2)
    assert source.event_shape == (8, 8, channels)
    expected = tf.image.resize(x[:, 6:18], [8, 8], antialias=True).numpy()
    for found in [*source.examples("train").x, *source.examples("test").x]:
        assert min(np.abs(found - each).max() for each in expected) < 1.1


@pytest.mark.parametrize(
    "arrays, train, test",
    [
        ({"x": pictures(10)}, 8, 2),
        ({"arr_0": pictures(10), "arr_1": np.arange(10) % 2}, 8, 2),
        ({"faces": pictures(10)}, 8, 2),
        ({"x_train": pictures(6), "x_test": pictures(3)}, 6, 3),
        (
            {"train_images": pictures(6), "train_labels": np.zeros((6, 1), int),
             "test_images": pictures(3), "test_labels": np.zeros((3, 1), int),
             "val_images": pictures(2), "val_labels": np.zeros((2, 1), int)}, 6, 3,
        ),
    ],
)  # fmt: skip
def test_the_names_of_other_programs_are_understood(arrays, train, test, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    source = irn.data.image_file(tmp_path / "data.npz")
    assert len(source.examples("train").x) == train and len(source.examples("test").x) == test
    assert source.has_validation == ("val_images" in arrays)
    assert (source.classes is not None) == (len(arrays) in (2, 6) and "x_test" not in arrays)


def test_other_arrays_of_a_file_are_left_out_and_named(tmp_path):
    np.savez(tmp_path / "data.npz", x=pictures(10), author=np.array("me"))
    assert "left out: the arrays author" in irn.data.image_file(tmp_path / "data.npz").found


def test_a_single_array_is_pictures_without_classes(tmp_path):
    np.save(tmp_path / "data.npy", pictures(10, shape=(8, 8)))
    source = irn.data.get("images", npz=tmp_path / "data.npy", validation_examples=3, pad_to=12)
    assert len(source.examples("train").x) == 5 and source.event_shape == (12, 12, 1)
    assert "10 pictures of 8×8, grey" in source.found


def test_options_of_own_pictures_are_refused_elsewhere(tmp_path):
    with pytest.raises(ValueError, match="test_fraction .* own pictures"):
        irn.data.get("digits", data_dir=tmp_path, test_fraction=0.1)
    with pytest.raises(ValueError, match="received neither"):
        irn.data.get("images")
