"""The files of a run, written whole or not at all."""

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
"""Classes that the file of a model names; this import registers them with Keras."""


class RunFolder:
    """The folder of a run and the paths in it.

    It holds ``config.json``, ``history.jsonl``, ``checkpoints/``, ``tensorboard/``, ``images/``,
    ``model.keras`` and, written last, ``result.json``.  If there is validation,
    ``checkpoints/best.keras`` is the model of the best one.

    Args:
        path: the folder.
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
        """Raises `FileExistsError` if the path exists and is not an empty folder."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise FileExistsError(
                f"{self.path} exists already; nothing was changed. Choose another --out, remove "
                "it, or continue it with --resume."
            )

    def create(self, config: dict[str, Any]) -> None:
        """Makes the folder and writes the configuration, from which the run can be resumed."""
        self.require_new()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config, config)
        self._make_folders()

    def _make_folders(self):
        for folder in (self.checkpoints, self.tensorboard, self.images):
            folder.mkdir(parents=True, exist_ok=True)

    def read_config(self) -> dict[str, Any]:
        """Returns ``config.json`` as plain data, with its preset parsed.

        Raises:
            FileNotFoundError: if there is no run here.
            ValueError: if the file is damaged.
        """
        if not self.config.is_file():
            raise FileNotFoundError(
                f"{self.path} is no run folder: it has no config.json. Train one with "
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
        """Makes missing folders, and replaces the history of the epochs so far."""
        self._make_folders()
        with written_whole(self.history) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in history))

    def read_history(self) -> list[dict[str, Any]]:
        """Returns the metrics of every epoch so far, without a line that a kill has cut off."""
        text = self.history.read_text() if self.history.is_file() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def latest_checkpoints(self) -> list[pathlib.Path]:
        """Returns the paths of the whole checkpoints, newest first."""
        return sorted(self.checkpoints.glob("step-*.keras"), reverse=True)


class ScratchFolder(RunFolder):
    """The run folder of a worker that is not the chief; it is removed with the process."""

    is_kept = False

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="iresnet_tf-")
        super().__init__(self._temporary.name)


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Returns the Keras model in a file, as it was saved.

    If spectral vectors do not fit their kernels, it warns and leaves them: their layers exceed
    the coefficient until `iresnet_tf.layers.refresh` is called.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, damaged, or no model.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model at {path}.")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) could not be read as a model of this package; "
            f"it may be truncated. It was left as it is. ({type(error).__name__}: {error})"
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
