"""Makes one's own pictures a data source: a folder, arrays in memory, or a file of arrays."""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from iresnet_tf.data import picture_arrays, tables
from iresnet_tf.data.decoding import DecodedFolder
from iresnet_tf.data.held_out import TEST_FRACTION, divided
from iresnet_tf.data.image_source import ImageSource
from iresnet_tf.data.picture_arrays import Part
from iresnet_tf.data.source import SPLITS, Examples

_SHOWN = 12
"""The largest number of classes that a report lists."""


class PictureSource(ImageSource):
    """The source of one's own pictures; `image_folder`, `image_arrays` and `image_file` make it.

    Args:
        name: name of the source.
        read: function that returns the pictures of a part, by the numbers of their rows.
        shape: shape of a picture.
        labels: the number of the class of each picture of each part.
        class_names: see below.
        report, left_out: lines about what was found, before and after those about the classes.
        test_fraction, split_seed: see `image_folder`.
        **options: ``validation_examples``, ``pad_to``, ``bits`` and ``only_class`` of
            `iresnet_tf.data.get`.

    Attributes:
        class_names: the names of the classes 0, 1, …, ``None`` without classes.
        found: what was found, converted and left out, as lines of text.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[str, np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        *,
        labels: Mapping[str, np.ndarray],
        class_names: tuple[str, ...] | None,
        report: list[str],
        left_out: list[str],
        test_fraction: float | None = None,
        split_seed: int | None = None,
        **options: Any,
    ) -> None:
        chosen, how = _splits(name, labels, test_fraction, split_seed)
        held_out = options.get("validation_examples", 0)
        if held_out and "validation" in chosen:
            raise ValueError(
                f"{name} has its own validation pictures; received validation_examples={held_out}. "
                "Leave it out, data.validation_examples=0."
            )
        count = len(chosen["train"][1])
        if held_out >= count:
            raise ValueError(
                f"{name} has {count} pictures to train on, too few to hold out "
                f"validation_examples={held_out} of them. Hold out fewer, "
                "data.validation_examples=0, or add pictures."
            )

        @functools.cache
        def load(split):
            part, rows = chosen[split]
            return Examples(read(part, rows), None if class_names is None else labels[part][rows])

        classes = None if class_names is None else len(class_names)
        super().__init__(name, load, shape, classes=classes, **options)
        lines = [*report, *_class_lines(class_names, labels), how, *left_out]
        self.found = "\n".join([f"{name}:", *(f"  {line}" for line in lines)])
        self.class_names, self.has_validation = class_names, "validation" in chosen

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return ("images",)

    @classmethod
    def has(cls, name: str) -> bool:
        return name in cls.names()

    @classmethod
    def open(cls, name: str, *, data_dir: str | None = None, **options: Any) -> "PictureSource":
        if options.pop("table", None) is not None:
            raise ValueError(
                "The option table is for the sources table, mixed-table and conditional-table, "
                "not for images. Leave it out."
            )
        folder, file = options.pop("folder", None), options.pop("npz", None)
        if (folder is None) == (file is None):
            raise ValueError(
                "Pictures come from a folder, data.folder=FOLDER or --folder FOLDER, or from a "
                "file of arrays, data.npz=FILE or --npz FILE; "
                f"received {'neither' if folder is None else 'both'}."
            )
        return image_file(file, **options) if folder is None else image_folder(folder, **options)

    def stored(self, split: str) -> Examples:
        if split == "validation" and self.has_validation:
            return Examples(*self._kept("validation"))
        return super().stored(split)


def image_folder(
    folder: str | os.PathLike[str],
    *,
    size: int | None = None,
    channels: int | None = None,
    test_fraction: float | None = None,
    split_seed: int | None = None,
    sha256: str | None = None,
    **options: Any,
) -> PictureSource:
    """Returns the source of the pictures in a folder, whose subfolders, if any, are the classes.

    The pictures are checked now, and decoded when a split is first used.

    Args:
        folder: the folder; if it holds ``train/``, and perhaps ``test/`` and ``validation/``,
            these are the splits.
        size: side to which the central square of every picture is resized; by default all
            pictures must have one size.
        channels: 1, 3, or 4 with the opacity; by default 1 if no picture has colours, else 3.
        test_fraction: fraction held out for the test, 0.2 by default, if there is no ``test/``.
        split_seed: seed of the split and of the order, 0 by default.
        sha256: what `iresnet_tf.data.picture_folder.digest` must be, or ``None``.
        **options: ``validation_examples``, ``pad_to``, ``bits`` and ``only_class`` of
            `iresnet_tf.data.get`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: for a folder of another layout, a broken picture, pictures of several sizes
            without ``size``, or pictures that have changed; the message names it.

    Example::

        source = irn.data.image_folder("photos", size=32)
        print(source.found)
        irn.training.train(irn.presets.get("image-density"), "runs/photos", source=source)
    """
    name = os.fspath(folder)
    pictures = DecodedFolder(folder, size=size, channels=channels)
    if sha256 is not None and pictures.sha256 != sha256:
        raise ValueError(
            f"The pictures in {name} have changed since the run began: the SHA-256 of their names "
            f"and contents is not {sha256}. Restore them, or train a new run on them."
        )
    files, labels, class_names, others = pictures.layout
    kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common())
    return PictureSource(
        name,
        lambda part, rows: pictures.decoded([files[part][row] for row in rows]),
        pictures.shape,
        labels={split: np.array(y) for split, y in labels.items()},
        class_names=class_names,
        report=pictures.report(),
        left_out=[f"left out, as no pictures by name: {kinds}"] if kinds else [],
        test_fraction=test_fraction,
        split_seed=split_seed,
        **options,
    )


def image_file(
    file: str | os.PathLike[str], *, sha256: str | None = None, **options: Any
) -> PictureSource:
    """Returns the source of the pictures in an ``.npz`` or ``.npy`` file.

    An ``.npy`` file holds pictures alone.  An ``.npz`` file holds pictures ``x`` and perhaps
    classes ``y``, or these for each split, ``x_train``, ``y_train``, ``x_test``, ….

    Args:
        file: the file.
        sha256: the SHA-256 that the file must have, or ``None``.
        **options: those of `image_arrays`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a damaged or changed file, or arrays that are no pictures.
    """
    file = pathlib.Path(file)
    parts, left_out = picture_arrays.load(file)
    tables.require_unchanged(file, sha256)
    return _of_parts(os.fspath(file), parts, left_out, **options)


def image_arrays(
    x: np.ndarray,
    y: np.ndarray | None = None,
    *,
    test: tuple[np.ndarray, np.ndarray | None] | None = None,
    validation: tuple[np.ndarray, np.ndarray | None] | None = None,
    name: str = "arrays",
    **options: Any,
) -> PictureSource:
    """Returns the source of pictures in arrays.

    Args:
        x: integers from 0 to 255 (or ``bool``), ``[n, height, width]`` or
            ``[n, height, width, channels]``.
        y: classes ``[n]``, integers or strings, or ``None``.
        test, validation: pairs of the same kind that are held out; without ``test`` a part of
            ``x`` is drawn.
        name: name of the source.
        **options: ``size``, ``test_fraction`` and ``split_seed`` of `image_folder`, and
            ``validation_examples``, ``pad_to``, ``bits`` and ``only_class`` of
            `iresnet_tf.data.get`.

    Raises:
        ValueError: for arrays that are no pictures, or labels that are not a class for each.

    Example::

        source = irn.data.image_arrays(x, y, pad_to=32)
        irn.training.train(irn.presets.get("image-hybrid"), "runs/mine", source=source)
    """
    given = {"train": (x, y), "test": test, "validation": validation}
    parts = {split: Part(*part) for split, part in given.items() if part is not None}
    return _of_parts(name, parts, [], **options)


def _of_parts(
    name: str,
    parts: Mapping[str, Part],
    left_out: list[str],
    *,
    size: int | None = None,
    channels: int | None = None,
    **options: Any,
) -> PictureSource:
    parts, class_names = picture_arrays.numbered(name, picture_arrays.checked(name, parts))
    height, width, depth = parts["train"].x.shape[1:]
    if channels not in (None, depth):
        raise ValueError(
            f"{name} has pictures of {depth} channels; data.channels={channels} converts the "
            "pictures of folders alone. Convert the array."
        )

    def read(part, rows):
        x = parts[part].x[rows]
        return x if size is None else picture_arrays.with_size(x, size)

    labels = {split: np.zeros(len(x)) if y is None else y for split, (x, y) in parts.items()}
    count, kind = sum(map(len, labels.values())), "grey" if depth == 1 else f"{depth} channels"
    resized = "" if size is None else f", their central squares are resized to {size}×{size}"
    return PictureSource(
        name,
        read,
        (height, width, depth) if size is None else (size, size, depth),
        labels=labels,
        class_names=class_names,
        report=[f"{count} pictures of {height}×{width}, {kind}{resized}"],
        left_out=[f"left out: the arrays {', '.join(left_out)}"] if left_out else [],
        **options,
    )


def _splits(name, labels, test_fraction, split_seed):
    """Returns the part and the rows in it that make each split, and a line about it."""
    seed = split_seed or 0
    rng = np.random.default_rng([seed, 1])
    chosen = {split: (split, rng.permutation(len(y))) for split, y in labels.items()}
    if "test" in labels:
        if test_fraction is not None:
            raise ValueError(
                f"{name} has its own test pictures; received test_fraction={test_fraction}. Leave "
                "it out."
            )
        how = "as given"
    else:
        fraction = TEST_FRACTION if test_fraction is None else test_fraction
        train, test = divided(name, labels["train"], test_fraction=fraction, seed=seed)
        chosen |= {"train": ("train", train), "test": ("train", test)}
        each = "each class" if len(np.unique(labels["train"])) > 1 else "all"
        how = f"the test is {fraction:g} of {each}, drawn by seed {seed}"
    sizes = ", ".join(f"{len(chosen[split][1])} {split}" for split in SPLITS if split in chosen)
    return chosen, f"{sizes} ({how})"


def _class_lines(class_names, labels):
    if class_names is None:
        return ["no classes"]
    counts = np.bincount(np.concatenate(list(labels.values())), minlength=len(class_names))
    shown = [f"{each} ({count})" for each, count in zip(class_names, counts)][:_SHOWN]
    more = [f"and {len(class_names) - _SHOWN} more"] if len(class_names) > _SHOWN else []
    return [f"{len(class_names)} classes, from 0 on: {', '.join([*shown, *more])}"]
