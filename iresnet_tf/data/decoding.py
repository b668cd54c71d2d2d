"""Checks the pictures of a folder, and decodes them into arrays of one shape."""

import collections
import concurrent.futures
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable

import numpy as np

from iresnet_tf.data import images, picture_folder, pictures
from iresnet_tf.data.pictures import BrokenPictureError, Facts

_NAMED = 3
"""The largest number of broken files that a message names."""


class DecodedFolder:
    """The pictures of a folder as arrays of one shape.

    It reads every file once to check it; `decoded` reads a file again.

    Args:
        folder: see `picture_folder.layout`.
        size, channels: see `image_folder`.

    Attributes:
        layout: the files, their splits and their classes.
        shape: shape of a picture, ``(height, width, channels)``.
        sha256: see `picture_folder.digest`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: for another layout, broken files, or several sizes without ``size``.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, size: int | None, channels: int | None
    ) -> None:
        if channels not in (None, 1, 3, 4):
            raise ValueError(f"channels is 1, 3 or 4; received {channels!r}.")
        self.layout, self._size = picture_folder.layout(folder), size
        files = [file for part in self.layout.files.values() for file in part]

        def read(file):
            content = file.read_bytes()
            return hashlib.sha256(content).hexdigest(), pictures.inspected(file, content)

        digests, facts = zip(*_each(read, files))
        self.sha256 = picture_folder.combined_digest(folder, dict(zip(files, digests)))
        self._facts: tuple[Facts, ...] = facts
        self._sizes = collections.Counter((each.height, each.width) for each in facts)
        if size is None and len(self._sizes) > 1:
            example = {(each.height, each.width): file for file, each in zip(files, facts)}
            shown = ", ".join(
                f"{_sides(sides)} ({count}, such as {example[sides].name})"
                for sides, count in self._sizes.most_common(3)
            )
            raise ValueError(
                f"{os.fspath(folder)} holds pictures of {len(self._sizes)} sizes, height×width: "
                f"{shown}{', …' if len(self._sizes) > 3 else ''}. Resize the central square of "
                f"each: data.size={_likely_size(self._sizes)}."
            )
        sides = next(iter(self._sizes)) if size is None else (size, size)
        depth = channels or (1 if all(each.is_grey for each in facts) else 3)
        self.shape: tuple[int, int, int] = (*sides, depth)

    def decoded(self, files: list[pathlib.Path]) -> np.ndarray:
        """Returns pictures as ``uint8 [n, height, width, channels]``.

        More than `images.IN_MEMORY` bytes are mapped from a temporary file that has no name.

        Raises:
            ValueError: for files that are broken, or were replaced by a picture of another size.
        """
        x = _allocated((len(files), *self.shape))

        def fill(row_and_file):
            row, file = row_and_file
            content, channels = file.read_bytes(), self.shape[-1]
            pixels = pictures.decoded(file, content, channels=channels, size=self._size)
            if pixels.shape != self.shape:
                raise BrokenPictureError(f"{file} has changed while it was read")
            x[row] = pixels

        _each(fill, list(enumerate(files)))
        return x

    def report(self) -> list[str]:
        """Returns lines about the number of files, their sizes, channels and conversions."""
        count, depth = len(self._facts), self.shape[-1]
        common = self._sizes.most_common(4)
        sizes = ", ".join(f"{_sides(sides)} ({number})" for sides, number in common)
        more = ", …" if len(self._sizes) > len(common) else ""
        lines = [f"{count} pictures of {len(self._sizes)} sizes, height×width: {sizes}{more}"]
        if len(self._sizes) == 1:
            lines = [f"{count} pictures of {_sides(common[0][0])}"]
        if (size := self._size) is not None:
            smaller = self._count(lambda each: min(each.height, each.width) < size)
            enlarged = f", {smaller} of them enlarged" if smaller else ""
            target = _sides(self.shape[:2])
            lines.append(f"the central square of each is resized to {target}{enlarged}")
        grey = self._count(lambda each: each.is_grey)
        lines.append(f"{count - grey} have colours, {grey} are grey; {_KINDS[depth]}")
        converted = {
            "grey is repeated in every colour": grey if depth > 1 else 0,
            "colours become their luminance": count - grey if depth == 1 else 0,
            "what is transparent is laid over white": (
                self._count(lambda each: each.has_alpha) if depth < 4 else 0
            ),
            "palettes become their colours": self._count(lambda each: each.has_palette),
            "of 16 bits the upper 8 are kept": self._count(lambda each: each.is_wide),
            "turned as EXIF asks": self._count(lambda each: each.is_turned),
            "of several frames the first is taken": self._count(lambda each: each.frames > 1),
        }
        shown = [f"{what} ({number})" for what, number in converted.items() if number]
        return lines + ([f"converted: {'; '.join(shown)}"] if shown else [])

    def _count(self, has: Callable[[Facts], bool]) -> int:
        return sum(map(has, self._facts))


_KINDS = {1: "1 channel", 3: "3 channels", 4: "4 channels, the last the opacity"}


def _each(function: Callable, items: Iterable) -> list:
    """Returns a function of every item, in order, by several threads; names what is broken."""
    broken: list[BrokenPictureError] = []

    def attempted(item):
        try:
            return function(item)
        except BrokenPictureError as error:
            broken.append(error)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(attempted, items))
    if broken:
        named = "; ".join(sorted(map(str, broken))[:_NAMED])
        more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise ValueError(f"{named}{more}. Remove or replace what is broken.")
    return results


def _allocated(shape):
    size = int(np.prod(shape, dtype=np.int64))
    if size <= images.IN_MEMORY:
        return np.empty(shape, np.uint8)
    file = tempfile.TemporaryFile()
    try:
        # A disk that is too small is found now; a mapped page without a place ends the process.
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        error.filename = tempfile.gettempdir()
        raise
    return np.memmap(file, np.uint8, "r+", shape=shape)


def _sides(sides):
    return "×".join(map(str, sides))


def _likely_size(sizes):
    """Returns the largest multiple of 8, up to 64, in the smaller sides of most pictures."""
    sides = sorted(min(each) for each in sizes.elements())
    return max(8, min(64, sides[len(sides) // 2] // 8 * 8))
