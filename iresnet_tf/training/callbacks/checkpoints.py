"""The models that a run keeps: the last ones, and that of the best validation."""

import keras

from iresnet_tf.training.averaging import averaged_weights


class Checkpoints(keras.callbacks.Callback):
    """Saves the model, its optimizer included, after every epoch; keeps the last two.

    Each file is written under another name and renamed, so a run killed at any
    moment leaves whole checkpoints.

    Args:
        run: `RunFolder`.
        save: function ``(model, path)`` that writes a whole file or none.
    """

    KEPT = 2

    def __init__(self, run, save):
        super().__init__()
        self.run, self.save = run, save

    def on_epoch_end(self, epoch, logs=None):
        self.save(self.model, self.run.checkpoint(int(self.model.optimizer.iterations.numpy())))
        for old in self.run.latest_checkpoints()[self.KEPT :]:
            old.unlink()


class Validation(keras.callbacks.Callback):
    """Evaluates held-out examples after every epoch, as ``val_…`` beside the epoch's figures.

    The averaged weights are evaluated, where the run keeps an average.

    Args:
        x, y: the examples; ``y`` may be ``None``.
        batch_size: examples evaluated at once.
    """

    def __init__(self, x, y=None, batch_size=128):
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size

    def on_epoch_end(self, epoch, logs=None):
        with averaged_weights(self.model):
            figures = self.model.evaluate(
                self.x, self.y, batch_size=self.batch_size, verbose=0, return_dict=True
            )
        logs.update({f"val_{name}": float(value) for name, value in figures.items()})


class BestCheckpoint(keras.callbacks.Callback):
    """Keeps the model of the best validation: highest ``val_accuracy``, or lowest ``val_loss``.

    What the best so far was is read from the run's history, so a resumed run goes on with it.
    The averaged weights are saved, where the run keeps an average.

    Args:
        run: `RunFolder`.
        save: function ``(model, path)`` that writes a whole file or none.
        monitor: ``"val_accuracy"`` (highest) or ``"val_loss"`` (lowest).
    """

    def __init__(self, run, save, monitor="val_loss"):
        super().__init__()
        self.run, self.save, self.monitor = run, save, monitor
        self.sign = -1.0 if monitor == "val_accuracy" else 1.0

    def on_epoch_end(self, epoch, logs=None):
        before = [self.sign * line[self.monitor] for line in self.run.read_history()[:epoch]]
        if self.sign * logs[self.monitor] < min(before, default=float("inf")):
            with averaged_weights(self.model):
                self.save(self.model, self.run.best)
