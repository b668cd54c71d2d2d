"""Defines the types, options and decorators of several subcommands."""

import errno
import functools
import os
import pathlib
from collections.abc import Callable
from typing import TypeVar

import click
import tensorflow as tf

from iresnet_tf.data.damage import DamagedSetError, first_line
from iresnet_tf.numerics import log_det
from iresnet_tf.training import strategies

PATH = click.Path(path_type=pathlib.Path)
SEED = click.IntRange(0, 2**31 - 1)

Command = TypeVar("Command", bound=Callable)

_EXPLAINED = (
    *(ValueError, ImportError, OSError, MemoryError),
    *(strategies.WorkerLostError, DamagedSetError),
)

_ELSEWHERE = "Give another path, or get the right to use this one."
_REMEDIES = {
    errno.ENOSPC: "Free space there, or choose another disk.",
    errno.EDQUOT: "Free space there, or choose another disk.",
    errno.EFBIG: "The system limits the size of a file: see ulimit -f.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.ENOTDIR: "A part of the path is a file: give another path.",
    errno.EISDIR: "Give the path of a file.",
}


def data_dir(command: Command) -> Command:
    """Adds the option ``--data-dir``."""
    text = "Folder of the TFDS data sets; by default that of TFDS. Missing sets are downloaded."
    return click.option("--data-dir", type=PATH, help=text)(command)


def clear_errors(command: Callable) -> Callable:
    """Shows errors of the user without a traceback."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except _EXPLAINED as error:
            raise click.ClickException(_message(error)) from error
        except tf.errors.ResourceExhaustedError as error:
            raise click.ClickException(
                f"The memory or the disk is full ({first_line(error)}). Give a smaller "
                "--batch-size or model, or free space."
            ) from error
        except tf.errors.InvalidArgumentError as error:
            raise click.ClickException(error.message) from error
        except _FILE_ERRORS as error:
            raise click.ClickException(
                f"A file cannot be read or written: {first_line(error)}. {_ELSEWHERE}"
            ) from error

    return wrapped


_FILE_ERRORS = (
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.OutOfRangeError,  # The system limits the size of a file.
)


def _message(error):
    """Returns the message of an error; one of the system gets its file and a remedy."""
    if isinstance(error, MemoryError):
        return (
            "There is not enough memory for this model and data. Give fewer examples, or a "
            f"smaller --batch-size or model. {error}".strip()
        )
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        file = "A file" if error.filename is None else os.fsdecode(error.filename)
        return f"{file}: {error.strerror}. {_REMEDIES.get(error.errno, _ELSEWHERE)}"
    return str(error) or type(error).__name__


def run_command(command: Callable) -> click.Command:
    """Turns a function whose first argument is a run into a subcommand with the argument RUN."""
    return click.command()(click.argument("run", type=PATH)(clear_errors(command)))


def parse_estimator(text: str | None) -> log_det.LogDet | None:
    """Returns the estimator that ``--log-det`` names, or ``None`` without the option.

    Raises:
        ValueError: for other text.
    """
    if text is None:
        return None
    if text.isdecimal() and int(text) > 0:
        return log_det.PowerSeries(int(text))
    named = {
        "exact": log_det.Exact,
        "krylov": lambda: log_det.Krylov("auto", truncation=1e-4),
        "russian-roulette": log_det.RussianRoulette,
    }
    if text not in named:
        raise ValueError(
            f"--log-det is exact, krylov, russian-roulette or a number of terms above 0; received "
            f"{text!r}."
        )
    return named[text]()
