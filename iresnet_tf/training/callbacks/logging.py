"""The figures of a run while it trains: shown, written down, plotted."""

import json

import keras
import tensorflow as tf
import tqdm


class Progress(keras.callbacks.Callback):
    """One progress bar over all steps of the run, with the running loss."""

    def __init__(self, steps, done=0):
        super().__init__()
        self.steps, self.done = steps, done

    def on_train_begin(self, logs=None):
        self.bar = tqdm.tqdm(total=self.steps, initial=self.done, unit="step", mininterval=1.0)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(1)
        if batch % 10 == 0:
            self.bar.set_postfix(
                {name: f"{float(logs[name]):.3f}" for name in _shown(logs)}, refresh=False
            )

    def on_train_end(self, logs=None):
        self.bar.close()


class History(keras.callbacks.Callback):
    """Appends one line of JSON an epoch: epoch, step and every figure of the epoch."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        step = int(self.model.optimizer.iterations.numpy())
        line = {"epoch": epoch + 1, "step": step, **{k: float(v) for k, v in logs.items()}}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Scalars(keras.callbacks.Callback):
    """TensorBoard figures an epoch.

    Scalars: every figure of the epoch (``bits_per_dim`` or ``loss`` in nats, ``log_prior``,
    ``log_det``, ``accuracy``, validation) and ``learning_rate``.  Histogram: ``prior_scale``.

    Args:
        writer: of `tf.summary`.
    """

    def __init__(self, writer):
        super().__init__()
        self.writer = writer

    def on_epoch_end(self, epoch, logs=None):
        with self.writer.as_default(step=int(self.model.optimizer.iterations.numpy())):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            tf.summary.scalar("learning_rate", float(self.model.optimizer.learning_rate))
            if hasattr(self.model, "prior"):
                tf.summary.histogram("prior_scale", tf.exp(self.model.prior.log_scale.value))


def _shown(logs):
    return [name for name in ("bits_per_dim", "loss") if name in logs][:1]
