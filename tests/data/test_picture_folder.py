"""Tests how the pictures of a folder are found, divided and reported."""

import numpy as np
import pytest
from PIL import Image

import iresnet_tf as irn
from iresnet_tf.data import held_out, images, picture_folder


def put(path, level=0, size=(8, 8), mode="L"):
    """Writes a picture of one level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode == "L" else (level,) * len(mode)).save(path)


@pytest.fixture
def classes(tmp_path):
    """A folder of 20 dark, 10 medium and 1 bright picture; every level is another one."""
    for level in range(20):
        put(tmp_path / "dark" / f"{level:02}.png", level)
    for level in range(100, 110):
        put(tmp_path / "medium" / f"{level}.PNG", level)
    put(tmp_path / "bright" / "200.png", 200)
    return tmp_path


def levels(source, split):
    return source.examples(split).x[:, 0, 0, 0].astype(int)


def test_a_folder_of_classes_is_divided_class_by_class(classes):
    source = irn.data.image_folder(classes)
    assert source.class_names == ("bright", "dark", "medium") and source.classes == 3
    assert (source.event_shape, source.levels) == ((8, 8, 1), 256)
    train, test = levels(source, "train"), levels(source, "test")
    assert sorted([*train, *test]) == [*range(20), *range(100, 110), 200]
    # A fifth of 31 is 6: 4 of 20 and 2 of 10; the single picture of a class is to train on.
    assert sorted(np.digitize(test, [50, 150])) == [0] * 4 + [1] * 2
    for split in ("train", "test"):
        expected = np.array([1, 2, 0])[np.digitize(levels(source, split), [50, 150])]
        np.testing.assert_array_equal(source.examples(split).y, expected)


def test_the_split_and_the_order_depend_on_the_seed_alone(classes):
    first, again, other = (
        irn.data.image_folder(classes, split_seed=seed, validation_examples=5) for seed in (0, 0, 1)
    )
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(levels(first, split), levels(again, split))
    assert set(levels(first, "test")) != set(levels(other, "test"))
    held = set(levels(first, "validation"))
    assert len(held) == 5 and not held & set(levels(first, "train"))


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_every_class_is_divided_in_the_same_proportion(fraction):
    labels = np.repeat([0, 1, 2, 3], [100, 40, 7, 1])
    train, test = held_out.divided("x", labels, test_fraction=fraction, seed=3)
    np.testing.assert_array_equal(np.sort([*train, *test]), np.arange(148))
    for each in range(4):
        size = np.sum(labels == each)
        held = np.sum(labels[test] == each)
        assert abs(held - fraction * size) <= 1.0 and held < size


def test_folders_of_splits_are_the_splits(tmp_path):
    for split, first in (("train", 0), ("Test", 100), ("val", 200)):
        for number in range(4):
            put(tmp_path / split / "ab"[number % 2] / f"{number}.png", first + number)
    source = irn.data.image_folder(tmp_path)
    assert sorted(levels(source, "train")) == [0, 1, 2, 3]
    assert sorted(levels(source, "test")) == [100, 101, 102, 103]
    assert sorted(levels(source, "validation")) == [200, 201, 202, 203]
    np.testing.assert_array_equal(source.examples("test").y, levels(source, "test") % 2)
    assert source.has_validation and "4 train, 4 validation, 4 test (as given)" in source.found


def test_hidden_and_other_files_are_left_out_and_counted(classes):
    (classes / ".DS_Store").write_bytes(b"")
    (classes / ".cache").mkdir()
    (classes / "dark" / "._00.png").write_bytes(b"no picture")
    (classes / "dark" / "notes.txt").write_text("")
    (classes / "README").write_text("")
    source = irn.data.image_folder(classes)
    assert "3 hidden" in source.found and "1 .txt" in source.found
    assert "1 without a suffix" in source.found
    assert len(source.examples("train").x) + len(source.examples("test").x) == 31


def test_links_are_followed(classes, tmp_path):
    (classes / "dark" / "link.png").symlink_to(classes / "bright" / "200.png")
    (classes / "linked").symlink_to(classes / "medium", target_is_directory=True)
    source = irn.data.image_folder(classes)
    assert source.class_names == ("bright", "dark", "linked", "medium")
    assert "42 pictures of 8×8" in source.found


def test_the_report_counts_what_was_found_and_converted(tmp_path):
    for number in range(6):
        put(tmp_path / f"{number}.jpg", 10, (12, 8), "RGB")
    put(tmp_path / "grey.png", 10, (16, 16))
    put(tmp_path / "clear.png", 10, (16, 16), "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 8)).save(tmp_path / "turned.jpg", exif=exif)
    put(tmp_path / "small.png", 10, (4, 4))
    found = irn.data.image_folder(tmp_path, size=8).found
    assert "10 pictures of 4 sizes, height×width: 8×12 (6), 16×16 (2)" in found
    assert "8×8, 1 of them enlarged" in found and "3 channels" in found
    assert "grey is repeated in every colour (2)" in found
    assert "laid over white (1)" in found and "turned as EXIF asks (1)" in found
    assert "no classes" in found and "8 train, 2 test" in found


def test_channels_are_those_that_are_asked_for(tmp_path):
    for number in range(5):
        put(tmp_path / f"{number}.png", 60, mode="RGBA")
    assert irn.data.image_folder(tmp_path).event_shape == (8, 8, 3)
    grey = irn.data.image_folder(tmp_path, channels=1).examples("train").x
    # 60 with an opacity of 60, over white.
    np.testing.assert_allclose(grey, (60.0 * 60.0 + 195.0 * 255.0) / 255.0, atol=1.0)
    opacity = irn.data.image_folder(tmp_path, channels=4).examples("train").x[..., 3]
    np.testing.assert_array_equal(opacity, 60.0)
    with pytest.raises(ValueError, match="channels is 1, 3 or 4; received 2"):
        irn.data.image_folder(tmp_path, channels=2)


def test_images_can_be_padded_and_their_bits_and_classes_chosen(classes):
    source = irn.data.image_folder(classes, pad_to=10, bits=4, only_class=2)
    x, y = source.examples("train")
    assert x.shape[1:] == (10, 10, 1) and source.levels == 16 and set(y) == {2}
    np.testing.assert_array_equal(x[:, 0], 0.0)
    assert set(x[:, 5, 5, 0]) == {100 // 16}


def test_a_large_folder_is_mapped_and_the_same(classes, monkeypatch):
    expected = irn.data.image_folder(classes).examples("train").x
    monkeypatch.setattr(images, "IN_MEMORY", 100)
    source = irn.data.image_folder(classes)
    assert isinstance(source.stored("train").x, np.memmap)
    np.testing.assert_array_equal(source.examples("train").x, expected)


@pytest.mark.parametrize("change", ["content", "name", "one more", "one less", "class"])
def test_the_digest_notices_a_change(classes, change):
    before = picture_folder.digest(classes)
    assert picture_folder.digest(classes) == before
    irn.data.image_folder(classes, sha256=before)
    first = classes / "dark" / "00.png"
    if change == "content":
        put(first, 1)
    elif change == "name":
        first.rename(classes / "dark" / "000.png")
    elif change == "one more":
        put(classes / "dark" / "99.png")
    elif change == "one less":
        first.unlink()
    else:
        (classes / "dark").rename(classes / "black")
    assert picture_folder.digest(classes) != before
    with pytest.raises(ValueError, match="have changed since the run began"):
        irn.data.image_folder(classes, sha256=before)


def test_the_digest_does_not_depend_on_the_place_or_on_other_files(classes, tmp_path_factory):
    before = picture_folder.digest(classes)
    (classes / ".hidden").write_text("")
    (classes / "notes.txt").write_text("")
    moved = classes.rename(tmp_path_factory.mktemp("elsewhere") / "moved")
    assert picture_folder.digest(moved) == before
