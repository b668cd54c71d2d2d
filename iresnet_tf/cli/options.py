"""Types and options that several subcommands have, and their parsing."""

import functools
import pathlib
from collections.abc import Callable
from typing import TypeVar

import click
import tensorflow as tf

from iresnet_tf.numerics import log_det
from iresnet_tf.training import strategies

PATH = click.Path(path_type=pathlib.Path)
SEED = click.IntRange(0, 2**31 - 1)

Command = TypeVar("Command", bound=Callable)

_EXPLAINED = (
    ValueError,
    FileNotFoundError,
    FileExistsError,
    ConnectionError,
    strategies.WorkerLostError,
)


def data_dir(command: Command) -> Command:
    """Adds the option ``--data-dir``."""
    text = "Folder of the TFDS data sets; by default that of TFDS. Missing sets are downloaded."
    return click.option("--data-dir", type=PATH, help=text)(command)


def clear_errors(command: Callable) -> Callable:
    """Shows errors that say what to do without a traceback."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except _EXPLAINED as error:
            raise click.ClickException(str(error)) from error
        except tf.errors.InvalidArgumentError as error:
            raise click.ClickException(error.message) from error

    return wrapped


def parse_estimator(text: str | None) -> log_det.LogDet | None:
    """Returns the estimator that ``--log-det`` names, ``None`` if the option is not given.

    Raises:
        ValueError: for any other text.
    """
    if text is None:
        return None
    if text.isdecimal() and int(text) > 0:
        return log_det.PowerSeries(int(text))
    named = {"exact": log_det.Exact, "russian-roulette": log_det.RussianRoulette}
    if text not in named:
        raise ValueError(
            f"--log-det is exact, russian-roulette or a number of terms above 0; received {text!r}."
        )
    return named[text]()
