"""Files and folders that are written whole or not at all."""

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

    The temporary path has the name of ``path`` and is on the same disk.  If the block fails,
    it is removed and ``path`` remains as it was.

    Example::

        with written_whole("numbers.npy") as partial:
            np.save(partial, numbers)
    """
    path = pathlib.Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
        partial = pathlib.Path(folder) / path.name
        yield partial
        os.replace(partial, path)


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Writes indented JSON, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(data, indent=2) + "\n")
