"""Files that are written whole or not at all."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a path next to ``path`` to write to, and renames it to ``path`` at the end.

    If the block fails, what it wrote is removed and ``path`` stays as it was.

    Args:
        path: the file to write; its folder must exist.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, data: Any) -> None:
    """Writes data as indented JSON, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(data, indent=2) + "\n")
