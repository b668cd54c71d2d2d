"""A run on disk: its files, written whole or not at all."""

import json
import os
import pathlib
import tempfile
import warnings

import keras

from iresnet_tf.layers import spectral_layers
from iresnet_tf.training import configuration, optimizers, schedules

SAVED_WITH_THE_OPTIMIZER = (optimizers.Adam, optimizers.Adamax, schedules.WarmUp)
"""What a model's file names beside layers: imported here, so that Keras knows it."""


class RunFolder:
    """``config.json``, ``history.jsonl``, ``checkpoints/``, ``tensorboard/``, ``images/``,
    ``model.keras`` and, last, ``result.json``.

    ``checkpoints/best.keras`` is the model of the best validation, where there is one.

    Args:
        path: the folder.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.history = self.path / "history.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.keras"
        self.tensorboard = self.path / "tensorboard"
        self.images = self.path / "images"
        self.model = self.path / "model.keras"
        self.result = self.path / "result.json"

    is_kept = True
    """Whether the run's result belongs here."""

    def require_new(self):
        """Raises `FileExistsError` if the path exists and is not an empty folder."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise FileExistsError(
                f"{self.path} exists already; nothing was changed. Choose another --out, remove "
                "it, or continue it with --resume."
            )

    def create(self, config):
        """Makes the folder and writes its configuration, with which it can be resumed."""
        self.require_new()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config, config)
        self._make_folders()

    def _make_folders(self):
        for folder in (self.checkpoints, self.tensorboard, self.images):
            folder.mkdir(parents=True, exist_ok=True)

    def read_config(self):
        """``config.json`` as plain data, its preset parsed.

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

    def load_model(self):
        """The trained model.

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

    def checkpoint(self, step):
        """Where the checkpoint after ``step`` lies."""
        return self.checkpoints / f"step-{step:08d}.keras"

    def reopen(self, history):
        """Makes the folders that are missing, and ``history`` the figures of the epochs so far."""
        self._make_folders()
        partial = self.history.with_name(f".partial-{self.history.name}")
        partial.write_text("".join(json.dumps(line) + "\n" for line in history))
        os.replace(partial, self.history)

    def read_history(self):
        """The figures of every epoch so far; a line cut off by a kill is left out."""
        text = self.history.read_text() if self.history.is_file() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def latest_checkpoints(self):
        """Whole checkpoints, newest first."""
        return sorted(self.checkpoints.glob("step-*.keras"), reverse=True)


class ScratchFolder(RunFolder):
    """A run folder that goes with the process: of a worker that is not the chief."""

    is_kept = False

    def __init__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="iresnet_tf-")
        super().__init__(self._temporary.name)


def load_model(path):
    """A Keras model from its file, as it was saved.

    Spectral vectors that no longer fit their kernel are left so, with a warning: the
    layer then exceeds its coefficient, until `iresnet_tf.layers.refresh`.

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


def save_model(model, path):
    """Saves to a file of another name first, so that ``path`` is never half-written."""
    partial = path.with_name(f".partial-{path.name}")
    model.save(partial)
    os.replace(partial, path)


def write_json(path, data):
    """Indented JSON, written whole."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(json.dumps(data, indent=2) + "\n")
    os.replace(partial, path)
