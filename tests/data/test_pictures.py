"""Tests what becomes of each kind of picture; the numbers follow from how it was written."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from iresnet_tf.data import pictures

FILE = pathlib.Path("picture")
RED, GREEN, BLUE = (200, 10, 30), (20, 180, 40), (5, 15, 250)


def written(image, format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def decoded(content, channels=3, size=None):
    return pictures.decoded(FILE, content, channels=channels, size=size)


def of_colours(*rows):
    return Image.fromarray(np.array(rows, np.uint8))


def luminance(colour):
    """ITU-R BT.601, in thousandths as its definition has them."""
    return np.dot(colour, (299, 587, 114)) / 1000.0


def test_colours_are_kept_or_become_their_luminance():
    content = written(of_colours([RED, GREEN, BLUE]))
    np.testing.assert_array_equal(decoded(content), [[RED, GREEN, BLUE]])
    expected = [luminance(colour) for colour in (RED, GREEN, BLUE)]
    np.testing.assert_allclose(decoded(content, 1)[0, :, 0], expected, atol=0.51)
    np.testing.assert_array_equal(decoded(content, 4)[0, :, 3], [255, 255, 255])


@pytest.mark.parametrize("mode, value, level", [("L", 77, 77), ("1", 1, 255), ("1", 0, 0)])
def test_grey_is_repeated_in_every_colour(mode, value, level):
    content = written(Image.new(mode, (3, 2), value))
    assert pictures.inspected(FILE, content).is_grey
    np.testing.assert_array_equal(decoded(content, 1), np.full((2, 3, 1), level))
    np.testing.assert_array_equal(decoded(content, 3), np.full((2, 3, 3), level))


@pytest.mark.parametrize("opacity", [0, 64, 255])
def test_what_is_transparent_is_laid_over_white(opacity):
    content = written(Image.new("RGBA", (2, 2), (*RED, opacity)))
    assert pictures.inspected(FILE, content).has_alpha
    share = opacity / 255.0
    expected = share * np.array(RED) + (1.0 - share) * 255.0
    np.testing.assert_allclose(decoded(content)[0, 0], expected, atol=1.0)
    np.testing.assert_array_equal(decoded(content, 4)[0, 0], (*RED, opacity))


def test_a_transparent_grey_stays_grey():
    content = written(Image.new("LA", (2, 2), (100, 0)))
    facts = pictures.inspected(FILE, content)
    assert facts.is_grey and facts.has_alpha
    np.testing.assert_array_equal(decoded(content, 1), np.full((2, 2, 1), 255))


def test_a_palette_becomes_its_colours_and_its_transparent_entry_white():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putdata([0, 1])
    content = written(image)
    assert pictures.inspected(FILE, content).has_palette
    np.testing.assert_array_equal(decoded(content), [[RED, GREEN]])
    content = written(image, transparency=1)
    assert pictures.inspected(FILE, content).has_alpha
    np.testing.assert_array_equal(decoded(content), [[RED, (255, 255, 255)]])


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_of_16_bits_the_upper_8_are_kept(format):
    levels = np.array([[0, 255, 256, 0x1234, 65535]], np.uint16)
    content = written(Image.fromarray(levels), format)
    facts = pictures.inspected(FILE, content)
    assert facts.is_wide and facts.is_grey
    np.testing.assert_array_equal(decoded(content, 1)[..., 0], [[0, 0, 1, 0x12, 255]])


def test_16_bits_a_colour_are_noticed():
    shape, levels = (1, 2, 3), [[0x12FF, 0x3400, 0xFFFF], [0, 0x00FF, 0x0100]]
    content = tf.io.encode_png(tf.constant(levels, tf.uint16, shape)).numpy()
    assert pictures.inspected(FILE, content).is_wide
    np.testing.assert_array_equal(decoded(content), [[[0x12, 0x34, 0xFF], [0, 0, 1]]])


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(format):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options = {"lossless": True} if format == "WEBP" else {}
    content = written(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert pictures.inspected(FILE, content).frames == 2
    np.testing.assert_array_equal(decoded(content)[0, 0], (255, 0, 0))


STORED = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


@pytest.mark.parametrize(
    "orientation, shown",
    [(1, STORED), (2, STORED[:, ::-1]), (3, STORED[::-1, ::-1]), (4, STORED[::-1]), (5, STORED.T),
     (6, np.rot90(STORED, -1)), (7, np.rot90(STORED, 2).T), (8, np.rot90(STORED))],
)  # fmt: skip
def test_a_picture_is_turned_as_its_exif_data_ask_for(orientation, shown):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = written(Image.fromarray(STORED), exif=exif)
    facts = pictures.inspected(FILE, content)
    assert (facts.height, facts.width) == shown.shape
    assert facts.is_turned == (orientation > 1)
    np.testing.assert_array_equal(decoded(content, 1)[..., 0], shown)


@pytest.mark.parametrize("shape, size", [((40, 30), 8), ((17, 33), 16), ((12, 12), 20)])
def test_the_central_square_is_resized_as_tensorflow_does(shape, size):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    side = min(shape)
    top, left = ((length - side) // 2 for length in shape)
    square = image[top : top + side, left : left + side]
    expected = tf.image.resize(square, [size, size], antialias=True).numpy()
    found = decoded(written(Image.fromarray(image)), size=size)
    np.testing.assert_allclose(found, expected, atol=1.1)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_unknown_white_are_refused(mode):
    content = written(Image.new(mode, (4, 4), 3), "TIFF")
    with pytest.raises(pictures.BrokenPictureError, match="picture has pixels of .* numbers"):
        pictures.inspected(FILE, content)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_a_picture_that_is_cut_short_is_named(format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    content = written(Image.fromarray(noise), format)
    with pytest.raises(pictures.BrokenPictureError, match="^picture (cannot|is)"):
        decoded(content[: len(content) // 2])
