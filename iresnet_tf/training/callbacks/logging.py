"""Reports the metrics of a run: in a progress bar, a history file and TensorBoard."""

import json
import pathlib
from typing import Any

import keras
import tensorflow as tf
import tqdm

from iresnet_tf.files import write_json
from iresnet_tf.models import FlowModel
from iresnet_tf.training.stopwatch import Stopwatch


class Progress(keras.callbacks.Callback):
    """Shows a progress bar over all steps of the run, with the running loss.

    Args:
        steps: number of steps of the run.
        done: number of steps before the run was resumed.
    """

    def __init__(self, steps: int, *, done: int = 0) -> None:
        super().__init__()
        self.steps, self.done = steps, done

    def on_train_begin(self, logs: Any = None) -> None:
        self.bar = tqdm.tqdm(total=self.steps, initial=self.done, unit="step", mininterval=1.0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update(1)
        if batch % 10 == 0:
            names = [name for name in ("bits_per_dim", "loss") if name in logs][:1]
            shown = {name: f"{float(logs[name]):.3f}" for name in names}
            self.bar.set_postfix(shown, refresh=False)

    def on_train_end(self, logs: Any = None) -> None:
        self.bar.close()


class History(keras.callbacks.Callback):
    """Appends a line of JSON to a file after each epoch: epoch, step and every metric."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        step = int(self.model.optimizer.iterations.numpy())
        line = {"epoch": epoch + 1, "step": step, **{k: float(v) for k, v in logs.items()}}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Seconds(keras.callbacks.Callback):
    """Writes the time of the run so far to a file after each epoch."""

    def __init__(self, path: pathlib.Path, stopwatch: Stopwatch) -> None:
        super().__init__()
        self.path, self.stopwatch = path, stopwatch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        write_json(self.path, self.stopwatch.read())


class Scalars(keras.callbacks.Callback):
    """Writes the metrics and ``learning_rate`` of every epoch to TensorBoard.

    It also writes histograms of the prior, for example ``prior_scale``.
    """

    def __init__(self, writer: tf.summary.SummaryWriter) -> None:
        super().__init__()
        self.writer = writer

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with self.writer.as_default(step=int(self.model.optimizer.iterations.numpy())):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            tf.summary.scalar("learning_rate", float(self.model.optimizer.learning_rate))
            if isinstance(self.model, FlowModel) and self.model.has_density:
                for name, values in self.model.prior.summaries().items():
                    tf.summary.histogram(f"prior_{name}", values)
