"""Tests that bad folders of pictures and bad arrays get one line, and that nothing is written."""

import re
import struct
import zlib

import numpy as np
import pytest
from commands import invoke
from PIL import Image

SMALL = ["model.blocks=1,1", "model.width=4", "--steps", 1]


def put(path, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def good(folder, count=10, **options):
    for number in range(count):
        put(folder / f"{number}.png", **options)


def classes(folder):
    for number in range(10):
        put(folder / "ab"[number % 2] / f"{number}.png")


def claiming(width, height):
    """Returns a PNG that ends where its pixels begin, and whose header claims a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + crc + b"\0\0\1\0IDAT\x78"


def nothing(folder):
    """Leaves no folder."""


def file(folder):
    folder.write_text("")


def empty(folder):
    folder.mkdir()


def other_files(folder):
    empty(folder)
    (folder / "photo.heic").write_text("")
    (folder / ".hidden.png").write_text("")


def truncated(folder):
    good(folder, size=(64, 64))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:2000])


def with_content(name, content):
    def make(folder):
        good(folder)
        (folder / name).write_bytes(content)

    return make


def several_broken(folder):
    good(folder)
    for number in range(5):
        (folder / f"bad{number}.png").write_text("text")


def several_sizes(folder):
    good(folder)
    put(folder / "odd.png", (9, 8))


def mixed(folder):
    classes(folder)
    put(folder / "lost.png")


def too_deep(folder):
    classes(folder)
    put(folder / "a" / "more" / "0.png")


def empty_class(folder):
    classes(folder)
    (folder / "c").mkdir()


def split_and_class(folder):
    classes(folder / "train")
    put(folder / "cats" / "0.png")


def test_alone(folder):
    classes(folder / "test")


test_alone.__test__ = False


def two_validations(folder):
    for split in ("train", "val", "validation"):
        classes(folder / split)


def unknown_class(folder):
    classes(folder / "train")
    put(folder / "test" / "z" / "0.png")


def classes_in_one(folder):
    classes(folder / "train")
    good(folder / "test")


def own_test(folder):
    classes(folder / "train")
    classes(folder / "test")


def own_validation(folder):
    classes(folder / "train")
    classes(folder / "val")


def broken_link(folder):
    good(folder)
    (folder / "link.png").symlink_to(folder / "gone.png")


def of_mode(mode, suffix):
    def make(folder):
        good(folder)
        put(folder / f"odd{suffix}", mode=mode)

    return make


def one(folder):
    good(folder, 1)


def odd_sides(folder):
    good(folder, size=(10, 6))


def one_class(folder):
    good(folder / "cats")


CLASSIFIER = ["image-classifier"]
FOLDERS = [
    (nothing, [], "does not exist"),
    (file, [], "is a file, not a folder"),
    (empty, [], "holds no pictures"),
    (other_files, [], r"no pictures \(left out: 1 hidden, 1 .heic|1 .heic, 1 hidden"),
    (truncated, [], r"cut\.jpg cannot be decoded \(.*truncated"),
    (with_content("text.png", b"text"), [], r"text\.png is no picture"),
    (with_content("nil.jpg", b""), [], r"nil\.jpg is empty"),
    (with_content("vast.png", claiming(60_000, 60_000)), ["data.size=8"], r"vast\.png cannot be"),
    (with_content("head.png", claiming(8, 8)), [], r"head\.png cannot be decoded"),
    (several_broken, [], "bad0.*bad1.*bad2.*and 2 more"),
    (several_sizes, [], r"2 sizes, height×width: 8×8 \(10.*8×9 \(1, such as odd.png.*data.size="),
    (mixed, [], r"lost\.png beside the folder a/"),
    (too_deep, [], "a/more is a folder in the folder of a class"),
    (empty_class, [], "/c, the folder of a class, holds no pictures"),
    (split_and_class, [], "holds cats beside train/"),
    (test_alone, [], "holds test/ but no train/"),
    (two_validations, [], "two folders of one split"),
    (unknown_class, [], "class 'z' of test/ is not in train/"),
    (classes_in_one, [], "train/ has a folder for each class, and test/ has none"),
    (own_test, ["data.test_fraction=0.5"], "has its own test pictures"),
    (own_validation, ["data.validation_examples=2"], "has its own validation pictures"),
    (broken_link, [], r"link\.png is a link that leads nowhere"),
    (of_mode("F", ".tif"), [], r"odd\.tif has pixels of floating-point numbers"),
    (of_mode("I", ".tif"), [], r"odd\.tif has pixels of 32-bit numbers"),
    (one, [], "has 1 pictures, too few"),
    (good, ["data.validation_examples=8"], "8 pictures to train on, too few .*=8"),
    (good, ["mnist-density-small"], "8 pictures to train on, too few .*=1000"),
    (odd_sides, [], "multiples of 4; .* are 6×10. .*data.size=8 or data.size=12.*data.pad_to=12"),
    (odd_sides, ["data.pad_to=8"], r"pad_to is at least .*\(6, 10\); received 8"),
    (good, CLASSIFIER, "has no classes"),
    (one_class, CLASSIFIER, "at least 2; received 1"),
    (classes, ["data.only_class=2"], "has 2 classes; received only_class=2"),
    (good, ["data.sha256=0"], "have changed since the run began"),
    (good, ["data.test_fraction=0.01"], "too few to hold out a fraction of 0.01"),
    (good, ["data.test_fraction=1.5"], "data.test_fraction: .* less than 1"),
    (good, ["data.channels=2"], "data.channels: .* 1, 3 or 4"),
    (good, ["data.size=0"], "data.size: .* greater than 0"),
    (good, ["data.npz=x.npz"], "folder and npz are two sources"),
    (good, ["tabular"], "this preset is for tables"),
    (good, ["toy-moons", "data.size=8"], "The model takes vectors"),
]


def refused(preset, *arguments, run):
    """Returns the one line in which a training is refused."""
    result = invoke("train", preset, *arguments, "intra_op_threads=none", "--out", run)
    assert result.exit_code == 1, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit) and not result.stdout
    assert not run.exists()
    (message,) = result.stderr.strip().splitlines()
    assert message.startswith("Error: ") and len(message) < 700
    return message


def of_preset(options):
    """Returns the preset that options begin with, by default image-density, and the others."""
    has_preset = bool(options) and "=" not in options[0]
    return (options[0], options[1:]) if has_preset else ("image-density", options)


@pytest.mark.parametrize("make, options, message", FOLDERS)
def test_a_bad_folder_gets_one_line_and_nothing_is_written(make, options, message, tmp_path):
    folder = tmp_path / "photos"
    make(folder)
    before = sorted(tmp_path.rglob("*"))
    preset, options = of_preset(options)
    small = SMALL if preset.startswith("image") else []
    line = refused(preset, "--folder", folder, *options, *small, run=tmp_path / "run")
    assert sorted(tmp_path.rglob("*")) == before
    assert re.search(message, line), line


X, Y = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10) % 2
ARRAYS = [
    (dict(x=X / 255.0), [], r"type float64; numbers from 0 to 1 become levels by numpy.round"),
    (dict(x=X.astype(np.int16) - 1), [], "received numbers from -1 to -1"),
    (dict(x=X.astype(np.uint16) + 1000), [], "from 1000 to 1000.*16 bits become 8"),
    (dict(x=X.astype(complex)), [], "type complex128"),
    (dict(x=X[0, 0]), [], r"received shape \(8, 3\)"),
    (dict(x=X[:0]), [], r"received shape \(0, 8, 8, 3\)"),
    (dict(x=np.zeros((10, 3, 8, 8), np.uint8)), [], "the channels come last"),
    (dict(x=np.array([None] * 10)), [], "holds no arrays that NumPy can read"),
    (dict(x=X, y=Y[:9]), [], "10 pictures and 9 classes"),
    (dict(x=X, y=np.eye(2)[Y]), [], "argmax"),
    (dict(x=X, y=Y / 2.0), [], "classes are integers or strings; received the type float64"),
    (dict(a=X, b=Y), [], "no pictures to train on; its arrays are 'a', 'b'"),
    (dict(y=Y, z=X), [], "no pictures to train on"),
    (dict(x_test=X), [], "no pictures to train on"),
    (dict(x=X, images=X), [], "'x' and 'images' are both the pictures of train"),
    (dict(x_train=X, x_test=X[:, :4]), [], r"test have shape \(4, 8, 3\), those of train"),
    (dict(x_train=X, y_train=Y, x_test=X), [], "only one of test and train has classes"),
    (dict(x_train=X, y_train=Y, x_test=X, y_test=Y + 1), [], "class 2 of test is not in train"),
    (dict(x=X[:, :7]), [], "multiples of 4; .* are 7×8"),
    (dict(x=X), ["data.channels=1"], "has pictures of 3 channels"),
    (dict(x=X), ["data.sha256=0"], "has changed since the run began"),
    (dict(x=X), CLASSIFIER, "has no classes"),
]


@pytest.mark.parametrize("arrays, options, message", ARRAYS)
def test_a_bad_array_gets_one_line_and_nothing_is_written(arrays, options, message, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    preset, options = of_preset(options)
    line = refused(
        *(preset, "--npz", tmp_path / "data.npz", *options, *SMALL), run=tmp_path / "run"
    )
    assert str(tmp_path / "data.npz") in line
    assert re.search(message, line), line


@pytest.mark.parametrize(
    "content, message",
    [(None, "no file of arrays"), (b"", "NumPy can read"), (b"x,y\n1,2\n", "NumPy can read")],
)
def test_a_file_that_is_no_arrays_is_named(content, message, tmp_path):
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    line = refused("image-density", "--npz", path, *SMALL, run=tmp_path / "run")
    assert str(path) in line and message in line


def test_a_file_of_arrays_that_is_cut_short_is_named(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=X)
    path.write_bytes(path.read_bytes()[:-100])
    line = refused("image-density", "--npz", path, *SMALL, run=tmp_path / "run")
    assert f"{path} holds no arrays that NumPy can read" in line


def test_a_preset_for_images_asks_for_them(tmp_path):
    line = refused("image-density", run=tmp_path / "run")
    assert "--folder FOLDER" in line and "--npz FILE" in line
