"""Writes files and folders whole or not at all."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path for a file or a folder, which replaces ``path`` on success.

    The temporary path has the same name and is on the same disk.  Missing folders above it are
    made.  If the ``with`` statement fails, all that was made is removed and ``path`` is unchanged.

    Example::

        with written_whole("numbers.npy") as partial:
            np.save(partial, numbers)
    """
    path = pathlib.Path(path)
    with (
        _folders_above(path),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder,
    ):
        partial = pathlib.Path(folder) / path.name
        try:
            yield partial
        except OSError as error:
            if error.errno is not None and error.filename is None:  # A full disk names no file.
                error.filename = os.fspath(path)
            raise
        os.replace(partial, path)


@contextlib.contextmanager
def _folders_above(path):
    """Makes the missing folders above a path, and removes those that are empty at the end."""
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Writes data to an indented JSON file, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(data, indent=2) + "\n")
