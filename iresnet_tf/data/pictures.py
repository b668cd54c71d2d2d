"""Reads pictures: what a file says about itself, and its pixels as an array."""

import dataclasses
import io
import pathlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from iresnet_tf.data.damage import first_line

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .gif .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm".split()
)
"""The endings, in small letters, of the files that are read as pictures."""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM")
_GREY = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"))
_WHITE = (255, 255, 255, 255)
_ORIENTATION = 0x0112  # the tag of EXIF


class BrokenPictureError(ValueError):
    """Raised for a file that holds no picture of 8 or 16 bits."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """The properties of a picture that its file states.

    Attributes:
        height, width: sides in pixels, after the picture is turned as its EXIF data ask for.
        is_grey: whether it has no colours.
        has_alpha: whether its pixels, its palette or a colour of it may be transparent.
        has_palette: whether its pixels are entries of a palette.
        is_wide: whether it has 16 bits a channel.
        is_turned: whether its EXIF data ask to turn or to mirror it.
        frames: number of pictures in the file.
    """

    height: int
    width: int
    is_grey: bool
    has_alpha: bool
    has_palette: bool
    is_wide: bool
    is_turned: bool
    frames: int


def inspected(file: pathlib.Path, content: bytes) -> Facts:
    """Returns what the content of a file says about its picture.

    Raises:
        BrokenPictureError: if the content is no picture, or has pixels of other types.
    """

    def facts(image):
        is_wide = _is_wide(image)
        orientation = image.getexif().get(_ORIENTATION, 1)  # This decodes a PNG.
        width, height = image.size
        sides = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
        return Facts(
            *sides,
            is_grey=image.mode in _GREY,
            has_alpha=image.has_transparency_data,
            has_palette=image.mode in ("P", "PA"),
            is_wide=is_wide,
            is_turned=orientation in range(2, 9),
            frames=getattr(image, "n_frames", 1),
        )

    return _read(file, content, facts)


def decoded(file: pathlib.Path, content: bytes, *, channels: int, size: int | None) -> np.ndarray:
    """Returns the first picture of a file as ``uint8 [height, width, channels]``.

    The picture is turned as its EXIF data ask for.  Of 16 bits the upper 8 are kept.  What is
    transparent is laid over white, unless 4 channels are asked for.

    Args:
        file: name of the file, for messages.
        content: its bytes.
        channels: 1 for grey (the luminance of ITU-R BT.601), 3 for red, green and blue, 4 for
            these and the opacity.
        size: see `resized`.

    Raises:
        BrokenPictureError: if the content is no whole picture, or has pixels of other types.
    """

    def pixels(image):
        image = ImageOps.exif_transpose(image)
        image = _with_channels(_narrowed(image), channels)
        array = np.asarray(resized(image, size))
        return array.reshape(*array.shape[:2], channels)

    return _read(file, content, pixels)


def resized(image: Image.Image, size: int | None) -> Image.Image:
    """Returns the central square of a picture with ``size × size`` pixels, or the picture itself.

    The picture is returned unchanged if ``size`` is ``None``.

    The filter is a triangle as wide as a pixel of the larger picture, so it averages when it
    shrinks, and interpolates linearly when it enlarges.
    """
    if size is None:
        return image
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def _read(file, content, function):
    """Returns a function of the opened picture; every error names the file."""
    if not content:
        raise BrokenPictureError(f"{file} is empty")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.mode == "F" or (image.mode == "I" and not _is_wide(image)):
                bits = "32-bit numbers" if image.mode == "I" else "floating-point numbers"
                raise BrokenPictureError(
                    f"{file} has pixels of {bits}, and does not say which number is white"
                )
            return function(image)
    except (BrokenPictureError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BrokenPictureError(f"{file} is no picture that Pillow knows") from None
    except Exception as error:  # Pillow raises errors of many types for damaged files.
        raise BrokenPictureError(f"{file} cannot be decoded ({first_line(error)})") from error


def _is_wide(image):
    """Returns whether a picture that is not decoded yet has 16 bits a channel."""
    is_wide_map = image.mode == "I" and image.format == "PPM"
    return is_wide_map or image.mode.startswith("I;16") or ";16" in str(image.tile)


def _narrowed(image):
    """Returns a picture of 8 bits; Pillow narrows 16 bits a colour by itself, but not grey."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def _with_channels(image, channels):
    if not image.has_transparency_data:
        image = image.convert("RGB")
    elif channels < 4:
        over = Image.new("RGBA", image.size, _WHITE)
        image = Image.alpha_composite(over, image.convert("RGBA")).convert("RGB")
    return image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
