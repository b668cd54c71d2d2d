"""Reads and writes the files of a run; each is written whole or not at all."""

import contextlib
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterable
from typing import Any

import keras

from iresnet_tf.files import write_json, written_whole
from iresnet_tf.training import configuration, ownership
from iresnet_tf.training.model_files import load_flow


class RunFolder:
    """The folder of a run and the paths in it.

    The last file of a run to be written is ``result.json``.  ``checkpoints/best.keras``, the model
    with the best validation metric, exists only for runs with validation examples.
    """

    is_kept = True
    """Whether the result of the run belongs in this folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.history = self.path / "history.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.keras"
        self.tensorboard = self.path / "tensorboard"
        self.images = self.path / "images"
        self.model = self.path / "model.keras"
        self.result = self.path / "result.json"
        self.seconds = self.path / "seconds.json"

    def owned(self) -> contextlib.AbstractContextManager[None]:
        """Makes the folder if it is missing, and owns it within a ``with`` statement.

        Raises:
            RunInUseError: if another process owns it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        return ownership.owned(self.path)

    def require_free(self) -> None:
        """Raises `RunInUseError` if a process owns the folder."""
        self._require_path()
        ownership.require_free(self.path)

    def is_begun(self) -> bool:
        """Returns whether the folder contains a run; raises `ValueError` if no run can be there."""
        self._require_path()
        return os.path.lexists(self.config)

    def _require_path(self):
        try:
            # The longest names of a run are those of the event files of TensorBoard.
            os.lstat(self.tensorboard / ("x" * 200))
        except FileNotFoundError:
            pass
        except OSError as error:
            remedy = "Choose another folder."
            if isinstance(error, NotADirectoryError):
                remedy += " The file of a model does not say which data it is for."
            raise ValueError(
                f"{self.path} cannot be a run folder: {error.strerror}. {remedy}"
            ) from None

    def require_new(self) -> None:
        """Requires that no run is here: the path does not exist or is an empty folder.

        What is left by a process that was killed before it wrote ``config.json`` does not count.

        Raises:
            FileExistsError: if the path exists otherwise.
            ValueError: if no folder can be made there.
        """
        begun = self.is_begun()
        left = re.compile(rf"{re.escape(ownership.LOCK)}|\.partial-.*")
        if self.path.is_dir() and all(left.fullmatch(each.name) for each in self.path.iterdir()):
            return
        if not os.path.lexists(self.path):
            return
        if not begun:
            raise FileExistsError(
                f"{self.path} exists already and is not a run folder: it has no config.json. "
                "Nothing was changed. Choose another --out, or remove it."
            )
        raise FileExistsError(
            f"{self.path} exists already; nothing was changed. Choose another --out, remove "
            "it, or continue it with --resume."
        )

    def create(self, config: dict[str, Any]) -> None:
        """Creates the folder and writes the configuration, from which a run can be resumed."""
        self.require_new()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config, config)
        self._make_folders()

    def _make_folders(self):
        for folder in (self.checkpoints, self.tensorboard, self.images):
            folder.mkdir(parents=True, exist_ok=True)

    def read_run(self) -> configuration.Run:
        """Returns the content of ``config.json``.

        Raises:
            FileNotFoundError: if the folder contains no run.
            ValueError: if the file is damaged.
        """
        if not self.is_begun():
            raise FileNotFoundError(
                f"{self.path} is not a run folder: it has no config.json. Train a preset with "
                "`iresnet train PRESET --out RUN`."
            )
        remedy = "Restore the file, or train anew with another --out."
        fields = _parsed(_read(self.config, remedy), self.config, remedy)
        try:
            return configuration.parsed(configuration.Run, fields)
        except ValueError as error:
            raise ValueError(f"{self.config} describes no run. {error} {remedy}") from None

    def read_config(self) -> dict[str, Any]:
        """Returns ``config.json`` as plain data with the preset parsed; see `read_run`."""
        return dict(self.read_run())

    def write_run(self, run: configuration.Run) -> None:
        """Replaces ``config.json``."""
        write_json(self.config, run.model_dump(mode="json"))

    def read_result(self, steps: int) -> dict[str, Any] | None:
        """Returns ``result.json`` if the run has finished that number of steps, else ``None``."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            result = json.loads(self.result.read_bytes())
            if isinstance(result, dict) and result.get("steps") == steps and self.model.is_file():
                return result
        return None

    def read_seconds(self) -> dict[str, float]:
        """Returns the seconds of all parts of the run so far; zeros if none are written.

        Raises:
            ValueError: if the file is damaged.
        """
        names = ("wall_seconds", "cpu_seconds")
        if not os.path.lexists(self.seconds):
            return dict.fromkeys(names, 0.0)
        remedy = "Remove the file; the time then counts from now on."
        found = _parsed(_read(self.seconds, remedy), self.seconds, remedy)
        if not isinstance(found, dict) or not all(_is_number(found.get(name)) for name in names):
            raise ValueError(
                f"{self.seconds} does not hold the numbers {', '.join(names)}. {remedy}"
            )
        return found

    def load_model(self) -> keras.Model:
        """Returns the trained model.

        Raises:
            FileNotFoundError: if the run has not finished.
            ValueError: if the file is damaged, or holds no model of this package.
        """
        self.read_run()
        if not self.model.is_file():
            raise FileNotFoundError(
                f"{self.path} has no model.keras: the run has not finished. Continue it with "
                "`iresnet train PRESET --out RUN --resume`."
            )
        return load_flow(self.model)

    def checkpoint(self, step: int) -> pathlib.Path:
        """Returns the path of the checkpoint after a step."""
        return self.checkpoints / f"step-{step:08d}.keras"

    def reopen(self, history: Iterable[dict[str, Any]]) -> None:
        """Creates missing folders, and replaces the history."""
        self._make_folders()
        with written_whole(self.history) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in history))

    def read_history(self) -> list[dict[str, Any]]:
        """Returns the metrics of every epoch so far, without a last line that is incomplete.

        Raises:
            ValueError: for a line that is damaged; the message has its number.
        """
        if not os.path.lexists(self.history):
            return []
        remedy = "Correct or remove the line, or the file; the weights do not depend on it."
        lines = []
        for number, text in enumerate(_read(self.history, remedy).split(b"\n")[:-1], 1):
            where = f"{self.history}, line {number},"
            line = _parsed(text, where, remedy)
            if not (
                isinstance(line, dict)
                and all(isinstance(line.get(name), int) for name in ("epoch", "step"))
                and all(map(_is_number, line.values()))
            ):
                raise ValueError(f"{where} is not a set of numbers with epoch and step. {remedy}")
            lines.append(line)
        return lines

    def latest_checkpoints(self) -> list[pathlib.Path]:
        """Returns the paths of the checkpoints, newest first."""
        paths = self.checkpoints.glob("*.keras")
        found = (each for each in paths if _CHECKPOINT.fullmatch(each.name))
        return sorted(found, key=self.step_of, reverse=True)

    def step_of(self, checkpoint: pathlib.Path) -> int:
        """Returns the step after which a checkpoint was made."""
        return int(checkpoint.stem.removeprefix("step-"))

    def set_aside(self, checkpoint: pathlib.Path) -> pathlib.Path:
        """Renames a checkpoint that cannot be used, so that another can take its place."""
        aside = checkpoint.with_name(f"{checkpoint.name}.unusable")
        while os.path.lexists(aside):
            aside = aside.with_name(f"{aside.name}-again")
        return checkpoint.rename(aside)


class ScratchFolder(RunFolder):
    """A temporary run folder, for a worker that is not the chief; it is removed at exit."""

    is_kept = False

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(
            prefix="iresnet_tf-", ignore_cleanup_errors=True
        )
        super().__init__(self._temporary.name)

    def remove(self) -> None:
        """Removes the folder before the process exits."""
        self._temporary.cleanup()


_CHECKPOINT = re.compile(r"step-[0-9]{8,18}\.keras")


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(path, remedy):
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}. {remedy}") from None


def _parsed(text, where, remedy):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{where} is damaged ({reason}). {remedy}") from None
