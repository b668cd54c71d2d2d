"""Writes pictures and their numbers to new files."""

import pathlib
import tempfile
from typing import Any

import click
from matplotlib.figure import Figure

from iresnet_tf.files import write_json, written_whole


def require_new(path: pathlib.Path, *suffixes: str) -> None:
    """Requires a path with one of the suffixes, for a file that does not exist.

    Raises:
        ValueError: for another suffix.
        FileExistsError: if the file exists, or the JSON file next to a picture.
        OSError: if its folder cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out ends in {' or '.join(suffixes)}; received {path}.")
    files = [path] if path.suffix.lower() != ".png" else [path, path.with_suffix(".json")]
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} exists already; choose another --out.")
    require_writable(path)


def require_writable(path: pathlib.Path) -> None:
    """Raises `OSError` unless a file can be made where ``path`` is to be; leaves nothing there.

    A command calls it before it computes.
    """
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_picture(picture: Figure, numbers: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a picture, and next to it its numbers as JSON."""
    with written_whole(path) as partial:
        picture.savefig(partial)
        write_json(path.with_suffix(".json"), numbers)
    click.echo(f"wrote {path} and {path.with_suffix('.json').name}")
