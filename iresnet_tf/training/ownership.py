"""Gives a run folder to one process at a time."""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import socket
import warnings
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows has other locks.
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""Name of the file in a run folder that its owner has locked."""


class RunInUseError(FileExistsError):
    """Raised when another process owns a run folder; the message names the process."""


@contextlib.contextmanager
def owned(folder: pathlib.Path) -> Iterator[None]:
    """Owns an existing folder within a ``with`` statement.

    The kernel releases the lock when the process ends, however it ends, so a file left by a killed
    process blocks nobody.  Over NFS the lock also holds between machines.

    Raises:
        RunInUseError: if another process owns the folder, or another part of this one.
    """
    with (folder / LOCK).open("a+") as file:
        _lock(file)
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        file.truncate(0)
        file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": now}))
        file.flush()
        yield


def require_free(folder: pathlib.Path) -> None:
    """Raises `RunInUseError` if a process owns the folder."""
    if (folder / LOCK).is_file():
        with (folder / LOCK).open() as file:
            _lock(file, shared=True)


def _lock(file, shared=False):
    try:
        if fcntl is None:
            raise OSError(errno.ENOLCK, "this system has no flock")
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunInUseError(
            f"{os.path.dirname(file.name)} is in use by {_owner(file)}; nothing was changed. Wait "
            "until that process ends, or end it, and continue the run with --resume; or choose "
            "another --out."
        ) from None
    except OSError as error:
        warnings.warn(
            f"{file.name} cannot be locked ({error.strerror}), so nothing keeps a second process "
            "out of the run. Start only one.",
            stacklevel=2,
        )


def _owner(file):
    try:
        file.seek(0)
        owner = json.load(file)
        return f"process {owner['process']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process, which has just started"
