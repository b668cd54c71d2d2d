"""Explains the errors that TensorFlow Datasets raises for damaged files."""

import contextlib
import os
import re
import textwrap
from collections.abc import Iterator

import tensorflow_datasets as tfds


class DamagedSetError(RuntimeError):
    """Raised for a data set whose files are damaged or incomplete."""


@contextlib.contextmanager
def damage_explained(name: str, folder: str | os.PathLike[str]) -> Iterator[None]:
    """Raises `DamagedSetError` with the folder of a set, in one line, if reading it fails.

    A file that the system cannot read or write raises its `OSError`.
    """
    try:
        yield
    except Exception as error:  # TFDS and TensorFlow raise errors of many types.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedSetError(
            f"The files of {name} in {os.fspath(folder)} are damaged or incomplete "
            f"({type(error).__name__}: {first_line(error)}). Remove the folder of the set, and "
            f"prepare it again: tfds build {name}."
        ) from error


def first_line(error: BaseException) -> str:
    """Returns what an error says, in one short line."""
    text = getattr(error, "message", None) or str(error)
    text = re.sub(r"^({{.*?}}|Failed to construct dataset .*?}\": )", "", text.strip())
    text = text.split(" [Op:", 1)[0].strip()
    return textwrap.shorten(text.splitlines()[0] if text else "no reason given", 200)


def folder_of_sets(data_dir: str | os.PathLike[str] | None) -> str:
    """Returns the folder of the TFDS data sets, by default that of TFDS."""
    return os.fspath(tfds.core.constants.DATA_DIR if data_dir is None else data_dir)
