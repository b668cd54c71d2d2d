"""Pictures and their numbers, written to new files."""

import pathlib
from typing import Any

import click
from matplotlib.figure import Figure

from iresnet_tf.files import write_json


def require_new(path: pathlib.Path, *suffixes: str) -> None:
    """Refuses a path with another suffix, and one whose file or numbers exist already.

    Raises:
        ValueError: for another suffix.
        FileExistsError: if a file exists.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out ends in {' or '.join(suffixes)}; received {path}.")
    files = [path] if path.suffix.lower() == ".csv" else [path, path.with_suffix(".json")]
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} exists already; choose another --out.")


def write_picture(picture: Figure, numbers: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a picture, and its numbers as JSON next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path)
    write_json(path.with_suffix(".json"), numbers)
    click.echo(f"wrote {path} and {path.with_suffix('.json').name}")
