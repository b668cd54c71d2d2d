"""Reads and writes the files of a run; each is written whole or not at all."""

import json
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterable
from typing import Any

import keras

from iresnet_tf.files import write_json, written_whole
from iresnet_tf.layers import spectral_layers
from iresnet_tf.training import configuration, optimizers, schedules

SAVED_WITH_THE_OPTIMIZER = (optimizers.Adam, optimizers.Adamax, schedules.WarmUp)
"""Classes to which the file of a model refers; importing them registers them with Keras."""


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

    def require_new(self) -> None:
        """Raises `FileExistsError` if the path exists, unless it is an empty folder."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
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

    def read_config(self) -> dict[str, Any]:
        """Returns ``config.json`` as plain data with the preset parsed.

        Raises:
            FileNotFoundError: if the folder contains no run.
            ValueError: if the file is damaged.
        """
        if not self.config.is_file():
            raise FileNotFoundError(
                f"{self.path} is not a run folder: it has no config.json. Train a preset with "
                "`iresnet train PRESET --out RUN`."
            )
        try:
            config = json.loads(self.config.read_text())
            return {**config, "preset": configuration.parse(config["preset"])}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.config} is damaged: {error!r}.") from None

    def load_model(self) -> keras.Model:
        """Returns the trained model.

        Raises:
            FileNotFoundError: if the run has not finished.
            ValueError: if the file is damaged.
        """
        self.read_config()
        if not self.model.is_file():
            raise FileNotFoundError(
                f"{self.path} has no model.keras: the run has not finished. Continue it with "
                "`iresnet train PRESET --out RUN --resume`."
            )
        return load_model(self.model)

    def checkpoint(self, step: int) -> pathlib.Path:
        """Returns the path of the checkpoint after a step."""
        return self.checkpoints / f"step-{step:08d}.keras"

    def reopen(self, history: Iterable[dict[str, Any]]) -> None:
        """Creates missing folders, and replaces the history."""
        self._make_folders()
        with written_whole(self.history) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in history))

    def read_history(self) -> list[dict[str, Any]]:
        """Returns the metrics of every epoch so far, without a last line that is incomplete."""
        text = self.history.read_text() if self.history.is_file() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def latest_checkpoints(self) -> list[pathlib.Path]:
        """Returns the paths of the checkpoints, newest first."""
        return sorted(self.checkpoints.glob("step-*.keras"), reverse=True)


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


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Returns the Keras model in a file, exactly as it was saved.

    This warns of spectral vectors that do not fit their kernels: their layers exceed the
    coefficient until `iresnet_tf.layers.refresh` is called.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, damaged, or not a model.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model at {path}.")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) could not be read as a model of this package; "
            f"it may be truncated. It was not changed. ({type(error).__name__}: {error})"
        ) from error
    stale = [layer.name for layer in spectral_layers(model) if layer.is_stale()]
    if stale:
        warnings.warn(
            f"{path}: the spectral vectors of {', '.join(stale)} do not fit their kernels, so "
            "these layers exceed their coefficient. Refine them with iresnet_tf.layers.refresh.",
            stacklevel=2,
        )
    return model


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Saves a model, whole or not at all."""
    with written_whole(path) as partial:
        model.save(partial)
