"""Writes pictures and their numbers to new files."""

import pathlib
from typing import Any

import click
from matplotlib.figure import Figure

from iresnet_tf.files import write_json


def require_new(path: pathlib.Path, *suffixes: str) -> None:
    """Requires a path with one of the suffixes, for a file that does not exist.

    Raises:
        ValueError: for another suffix.
        FileExistsError: if the file exists, or the JSON file next to a picture.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out ends in {' or '.join(suffixes)}; received {path}.")
    files = [path] if path.suffix.lower() == ".csv" else [path, path.with_suffix(".json")]
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} exists already; choose another --out.")


def write_picture(picture: Figure, numbers: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a picture, and next to it its numbers as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path)
    write_json(path.with_suffix(".json"), numbers)
    click.echo(f"wrote {path} and {path.with_suffix('.json').name}")
