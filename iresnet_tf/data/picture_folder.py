"""Finds the pictures of a folder, their splits and their classes."""

import collections
import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from iresnet_tf.data.pictures import SUFFIXES

SPLITS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
"""The names of folders that hold a split, and their splits."""

_LAYOUT = (
    "A folder holds pictures, or one folder of pictures for each class; or train/, test/ and "
    "validation/, each of them like that"
)


class Layout(NamedTuple):
    """The pictures of a folder.

    Attributes:
        files: the files of each split, sorted by name; ``"train"`` alone if the folder is not
            divided.
        labels: the number of the class of each file, 0 without classes.
        classes: the names of the classes, sorted, or ``None``.
        left_out: how many entries of each kind are not pictures.
    """

    files: dict[str, list[pathlib.Path]]
    labels: dict[str, list[int]]
    classes: tuple[str, ...] | None
    left_out: collections.Counter[str]


def layout(folder: str | os.PathLike[str]) -> Layout:
    """Returns the pictures of a folder, by the names of its entries alone.

    Hidden entries and files with other suffixes are left out.  Links are followed.

    Raises:
        FileNotFoundError: if there is no such folder, or a link leads nowhere.
        ValueError: for a folder of another layout; the message names the entry.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(
            f"{folder} {kind}. Give a folder of pictures as data.folder; a "
            "run keeps it in its config.json."
        )
    left_out: collections.Counter[str] = collections.Counter()
    files, folders = _entries(folder, left_out)
    halves = [each for each in folders if each.name.lower() in SPLITS]
    if not halves:
        found = {"train": list(_pictures(folder, (files, folders), left_out))}
    else:
        found = {}
        for half in _alone(folder, halves, [*files, *folders]):
            entries = _entries(half, left_out)
            found[SPLITS[half.name.lower()]] = list(_pictures(half, entries, left_out))
    classes = _classes(folder, found)
    numbers = {name: number for number, name in enumerate(classes or (None,))}
    labels = {split: [numbers[name] for _, name in pairs] for split, pairs in found.items()}
    paths = {split: [path for path, _ in pairs] for split, pairs in found.items()}
    return Layout(paths, labels, classes, left_out)


def digest(folder: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of the names and the contents of the pictures of a folder.

    Raises:
        FileNotFoundError, ValueError: see `layout`.
    """
    found = layout(folder)
    each = {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for paths in found.files.values()
        for path in paths
    }
    return combined_digest(folder, each)


def combined_digest(folder: str | os.PathLike[str], digests: dict[pathlib.Path, str]) -> str:
    """Returns `digest` of a folder from the SHA-256 of each file."""
    lines = (
        f"{digests[path]} {path.relative_to(folder).as_posix()}\n"
        for path in sorted(digests, key=lambda path: path.relative_to(folder).as_posix())
    )
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _alone(folder, halves, entries):
    """Returns the folders of the splits, if they are all there is, and train is one of them."""
    names = [SPLITS[half.name.lower()] for half in halves]
    if "train" not in names:
        raise ValueError(
            f"{folder} holds {halves[0].name}/ but no train/. Put the pictures to train on into "
            f"{folder / 'train'}, or give {halves[0].name}/ another name if it is a class."
        )
    double = next((half for half, name in zip(halves, names) if names.count(name) > 1), None)
    if double is not None:
        raise ValueError(
            f"{folder} holds two folders of one split, and {double.name}/ is one of them. Keep one."
        )
    other = next((each for each in entries if each not in halves), None)
    if other is not None:
        raise ValueError(
            f"{folder} holds {other.name} beside {halves[0].name}/. {_LAYOUT}. Move {other.name}."
        )
    return halves


def _pictures(folder, entries, left_out) -> Iterator[tuple[pathlib.Path, str | None]]:
    """Yields the files of pictures in a folder, each with the name of its class, or ``None``."""
    files, folders = entries
    if files and folders:
        raise ValueError(
            f"{folder} holds the picture {files[0].name} beside the folder {folders[0].name}/. "
            f"{_LAYOUT}. Move one of them."
        )
    if not files and not folders:
        raise ValueError(f"{folder} holds no pictures{_others(left_out)}. {_LAYOUT}.")
    yield from ((file, None) for file in files)
    for each in folders:
        inner, deeper = _entries(each, left_out)
        if deeper:
            raise ValueError(
                f"{deeper[0]} is a folder in the folder of a class. {_LAYOUT}. Move its pictures "
                f"to {each}."
            )
        if not inner:
            raise ValueError(
                f"{each}, the folder of a class, holds no pictures{_others(left_out)}. Remove it, "
                "or put pictures there."
            )
        yield from ((file, each.name) for file in inner)


def _entries(folder, left_out):
    """Returns the pictures and the folders in a folder, sorted; counts what it leaves out."""
    files, folders = [], []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            left_out["hidden"] += 1
        elif not entry.exists():
            raise FileNotFoundError(f"{entry} is a link that leads nowhere. Remove or mend it.")
        elif entry.is_dir():
            folders.append(entry)
        elif entry.suffix.lower() in SUFFIXES and entry.is_file():
            files.append(entry)
        else:
            left_out[entry.suffix.lower() or "without a suffix"] += 1
    return files, folders


def _others(left_out):
    kinds = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common(5))
    return f" (left out: {kinds})" if kinds else ""


def _classes(folder, found):
    """Returns the sorted names of the classes, or ``None`` if the pictures have none.

    Raises:
        ValueError: if only some splits have classes, or a split has a class that ``train`` lacks.
    """
    names = {split: {name for _, name in pairs} for split, pairs in found.items()}
    for split, given in names.items():
        if (None in given) != (None in names["train"]):
            with_classes, without = ("train", split) if None in given else (split, "train")
            raise ValueError(
                f"{folder}: {with_classes}/ has a folder for each class, and {without}/ has none. "
                "Give both the same layout."
            )
        if unknown := sorted(given - names["train"]):
            raise ValueError(
                f"{folder}: the class {unknown[0]!r} of {split}/ is not in train/. Add pictures of "
                "it there, or leave it out."
            )
    return None if None in names["train"] else tuple(sorted(names["train"]))
