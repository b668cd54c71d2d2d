"""Reads pictures and their classes from NumPy arrays and ``.npz`` files, and checks them."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from iresnet_tf.data.damage import first_line
from iresnet_tf.data.pictures import resized

IMAGES = ("x", "images", "image", "data", "arr_0")
"""The names of an array of pictures in an ``.npz`` file that is not divided into splits."""

LABELS = ("y", "labels", "label", "targets", "arr_1")
"""The names of an array of classes in such a file."""

_SPLITS = {"train": ("train",), "test": ("test",), "validation": ("validation", "valid", "val")}
_NAMED = (
    "Name the arrays x and y, or x_train, y_train, x_test, y_test, x_validation and y_validation "
    "(images and labels are understood too)"
)


class Part(NamedTuple):
    """Pictures ``uint8 [n, height, width, channels]`` and their labels ``[n]``, or ``None``."""

    x: np.ndarray
    y: np.ndarray | None


def load(file: pathlib.Path) -> tuple[dict[str, Part], list[str]]:
    """Reads the parts of an ``.npz`` file, or of an ``.npy`` file of undivided pictures.

    Returns:
        the parts by their splits, unchecked, and the names of the arrays that are left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a damaged file, or arrays of other names; the message names them.
    """
    if not file.is_file():
        raise FileNotFoundError(f"There is no file of arrays at {file}. Give one: --npz FILE.")
    try:
        opened = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(opened, np.ndarray):
            return {"train": Part(opened, None)}, []
        with opened:
            roles = _roles(file, opened.files)
            arrays = {name: opened[name] for name in roles.values()}
            left_out = [name for name in opened.files if name not in arrays]
    except _NamesError:
        raise
    except Exception as error:  # NumPy and zipfile raise errors of many types.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(
            f"{file} holds no arrays that NumPy can read ({first_line(error)}). Write them with "
            "numpy.savez, without objects in them."
        ) from error
    parts = {
        split: Part(arrays[roles[split, "x"]], arrays.get(roles.get((split, "y"), "")))
        for split in _SPLITS
        if (split, "x") in roles
    }
    return parts, left_out


def checked(name: str, parts: Mapping[str, Part]) -> dict[str, Part]:
    """Returns pictures as ``uint8 [n, height, width, channels]`` of one shape, and flat labels.

    Args:
        name: the name of the data, for messages.
        parts: the parts; pictures without an axis of channels get one of length 1.

    Raises:
        ValueError: for pictures that are no levels 0, …, 255, or labels that are not one class
            for each picture.
    """
    result = {}
    for split, (x, y) in parts.items():
        here = f"{name}, {split}" if len(parts) > 1 else name
        x = _pictures(here, np.asarray(x))
        result[split] = Part(x, None if y is None else _labels(here, np.asarray(y), len(x)))
    first = result["train"]
    for split, part in result.items():
        if part.x.shape[1:] != first.x.shape[1:]:
            raise ValueError(
                f"{name}: the pictures of {split} have shape {part.x.shape[1:]}, those of train "
                f"{first.x.shape[1:]}. Give all of them one shape."
            )
        if (part.y is None) != (first.y is None):
            raise ValueError(
                f"{name}: only one of {split} and train has classes. Give both classes, or none."
            )
    return result


def numbered(
    name: str, parts: Mapping[str, Part]
) -> tuple[dict[str, Part], tuple[str, ...] | None]:
    """Returns the parts with the classes numbered 0, 1, … in sorted order, and their names.

    Without classes the names are ``None``.

    Raises:
        ValueError: if a class is not in the training part.
    """
    labels = {split: y for split, (_, y) in parts.items() if y is not None}
    if not labels:
        return dict(parts), None
    known = np.unique(labels["train"])
    for split, y in labels.items():
        if unknown := sorted(set(np.unique(y).tolist()) - set(known.tolist())):
            raise ValueError(
                f"{name}: the class {unknown[0]!r} of {split} is not in train. Add pictures of it "
                "there, or leave it out."
            )
    result = {split: Part(parts[split].x, np.searchsorted(known, y)) for split, y in labels.items()}
    return result, tuple(map(str, known.tolist()))


def with_size(x: np.ndarray, size: int) -> np.ndarray:
    """Returns pictures with their central squares resized; see `pictures.resized`."""
    result = np.empty((len(x), size, size, x.shape[-1]), np.uint8)
    for picture, small in zip(x, result):
        for channel in range(x.shape[-1]):
            layer = Image.fromarray(np.ascontiguousarray(picture[..., channel]))
            small[..., channel] = np.asarray(resized(layer, size))
    return result


class _NamesError(ValueError):
    """Raised for an ``.npz`` file whose arrays have names that say nothing."""


def _roles(file: pathlib.Path, names: Iterable[str]) -> dict[tuple[str, str], str]:
    """Returns the names of the arrays by their split and their role, ``"x"`` or ``"y"``."""
    names = list(names)
    roles: dict[tuple[str, str], str] = {}
    for name in names:
        role = _role(name.lower())
        if role in roles:
            raise _NamesError(
                f"{file}: the arrays {roles[role]!r} and {name!r} are both the "
                f"{'pictures' if role[1] == 'x' else 'classes'} of {role[0]}. {_NAMED}."
            )
        if role is not None:
            roles[role] = name
    if not roles and len(names) == 1:
        return {("train", "x"): names[0]}
    if ("train", "x") not in roles:
        listed = ", ".join(map(repr, names[:8])) or "none"
        raise _NamesError(f"{file} has no pictures to train on; its arrays are {listed}. {_NAMED}.")
    return {(split, role): name for (split, role), name in roles.items() if (split, "x") in roles}


def _role(name):
    for role, kinds in (("x", IMAGES), ("y", LABELS)):
        if name in kinds:
            return "train", role
        for split, aliases in _SPLITS.items():
            spelt = {f"{a}_{b}" for k in kinds for s in aliases for a, b in ((k, s), (s, k))}
            if name in spelt:
                return split, role
    return None


def _pictures(name, x):
    if x.dtype.kind not in "bui":
        remedy = ""
        if x.dtype.kind == "f":
            remedy = "; numbers from 0 to 1 become levels by numpy.round(255 * x).astype('uint8')"
        raise ValueError(
            f"{name}: pictures are integers from 0 to 255; received the type {x.dtype}{remedy}."
        )
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ValueError(
            f"{name}: pictures are an array [n, height, width] or [n, height, width, channels]; "
            f"received shape {x.shape}."
        )
    x = x[..., np.newaxis] if x.ndim == 3 else x
    if x.shape[-1] > 4 and x.shape[1] in (1, 3, 4):
        raise ValueError(
            f"{name}: the channels come last, [n, height, width, channels]; received shape "
            f"{x.shape}, where they seem to come first: numpy.moveaxis(x, 1, -1)."
        )
    if x.dtype == bool:
        return 255 * x.astype(np.uint8)
    if x.dtype != np.uint8 and (x.min() < 0 or x.max() > 255):
        raise ValueError(
            f"{name}: pictures are integers from 0 to 255; received numbers from {x.min()} to "
            f"{x.max()}. Scale them; 16 bits become 8 by (x >> 8).astype('uint8')."
        )
    return x.astype(np.uint8, copy=False)


def _labels(name, y, count):
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        remedy = " One-hot rows become numbers by y.argmax(-1)." if y.ndim == 2 else ""
        raise ValueError(
            f"{name}: there is one class for each picture, [n]; received shape {y.shape}.{remedy}"
        )
    if len(y) != count:
        raise ValueError(f"{name}: {count} pictures and {len(y)} classes. Give one for each.")
    if y.dtype.kind not in "buiU":
        raise ValueError(
            f"{name}: classes are integers or strings; received the type {y.dtype}. Convert them, "
            "y.astype('int64')."
        )
    return y
