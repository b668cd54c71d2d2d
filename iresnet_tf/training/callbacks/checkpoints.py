"""Saves the newest models of a run, and the model with the best validation metric."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from iresnet_tf.training.averaging import averaged_weights
from iresnet_tf.training.run_folder import RunFolder

Save = Callable[[keras.Model, Path], None]
"""A function that writes a model to a file, whole or not at all."""


class Checkpoints(keras.callbacks.Callback):
    """Saves the model with its optimizer after every epoch, and keeps the last two files.

    ``save`` writes a file whole or not at all, so no checkpoint is damaged if the run is killed.
    """

    KEPT = 2

    def __init__(self, run: RunFolder, save: Save) -> None:
        super().__init__()
        self.run, self.save = run, save

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.save(self.model, self.run.checkpoint(int(self.model.optimizer.iterations.numpy())))
        for old in self.run.latest_checkpoints()[self.KEPT :]:
            if old.is_file() or old.is_symlink():
                old.unlink()


class Validation(keras.callbacks.Callback):
    """Evaluates held-out ``x`` and targets ``y`` after every epoch; adds ``val_…`` to the metrics.

    If the optimizer keeps an average of the weights, the average is evaluated.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray | None = None, *, batch_size: int = 128
    ) -> None:
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with averaged_weights(self.model):
            metrics = self.model.evaluate(
                self.x, self.y, batch_size=self.batch_size, verbose=0, return_dict=True
            )
        logs.update({f"val_{name}": float(value) for name, value in metrics.items()})


class BestCheckpoint(keras.callbacks.Callback):
    """Saves the model with the highest ``val_accuracy`` or the lowest ``val_loss`` so far.

    The best value so far is read from the history of the run, so a resumed run continues with it.
    If the optimizer keeps an average of the weights, the average is saved.
    """

    def __init__(self, run: RunFolder, save: Save, *, monitor: str = "val_loss") -> None:
        super().__init__()
        self.run, self.save, self.monitor = run, save, monitor
        self.sign = -1.0 if monitor == "val_accuracy" else 1.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        history = self.run.read_history()[:epoch]
        before = [self.sign * line[self.monitor] for line in history if self.monitor in line]
        if self.sign * logs[self.monitor] < min(before, default=float("inf")):
            with averaged_weights(self.model):
                self.save(self.model, self.run.best)
