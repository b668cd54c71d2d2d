"""Keras callbacks: what is watched, shown and written down while a model trains.

`Certificate`, `Spectra`, `Pictures`, `EMA` and `TerminateOnNaN` serve in any ``fit``; the others
keep a run folder.
"""

import json
import math
import pathlib
import warnings

import keras
import tensorflow as tf
import tqdm

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.evaluation import reconstruction
from iresnet_tf.analysis.samples import reconstructed, samples_figure
from iresnet_tf.layers import act_norms, lipschitz_bounds, spectral_layers
from iresnet_tf.training.averaging import EMA, averaged_weights
from iresnet_tf.training.termination import TerminateOnNaN

__all__ = [
    "EMA",
    "BestCheckpoint",
    "Certificate",
    "Checkpoints",
    "History",
    "Pictures",
    "Progress",
    "Scalars",
    "Spectra",
    "TerminateOnNaN",
    "Validation",
    "averaged_weights",
]


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


class Spectra(keras.callbacks.Callback):
    """``min(σ, c)`` of every constrained layer after an epoch, in any Keras model.

    The largest stands as ``largest_sigma`` among the figures of the epoch, so history and
    TensorBoard have it.

    Args:
        writer: of `tf.summary`, for the histograms ``sigma`` and ``act_norm_scale``; none by
            default.

    Example::

        writer = tf.summary.create_file_writer("logs")
        model.fit(x, callbacks=[irn.callbacks.Spectra(writer)])
    """

    def __init__(self, writer=None):
        super().__init__()
        self.writer = writer or tf.summary.create_noop_writer()

    def on_epoch_end(self, epoch, logs=None):
        sigmas = [
            min(float(layer.spectral_norm()), layer.enforced_lipschitz())
            for layer in spectral_layers(self.model)
        ]
        scales = [tf.exp(norm.log_scale.value) for norm in act_norms(self.model)]
        logs["largest_sigma"] = max(sigmas, default=0.0)
        with self.writer.as_default(step=int(self.model.optimizer.iterations.numpy())):
            tf.summary.histogram("sigma", sigmas)
            if scales:
                tf.summary.histogram("act_norm_scale", tf.concat(scales, 0))


class Pictures(keras.callbacks.Callback):
    """Pictures of a model of this package while it trains: PNG files, TensorBoard, or both.

    Images: data, reconstructions and, where the model generates, samples.  Points of the plane:
    the density and samples; longer vectors: the first elements pair by pair.  Beside them the
    scalars ``inverse_iterations`` and ``reconstruction_error`` of a reconstruction.

    Args:
        data: test examples to show.
        folder: for the PNG files; made if it is not there.
        writer: of `tf.summary`.
        levels: number of levels of images; by default the model's own.
        every: epochs between pictures.
        count: images shown.
        names: of the elements of a vector.

    Raises:
        ValueError: for neither folder nor writer; when it draws, for images of unknown levels.

    Example::

        model.fit(x, epochs=50, callbacks=[irn.callbacks.Pictures(test, "pictures", every=10)])
    """

    def __init__(self, data, folder=None, writer=None, levels=None, every=1, count=64, names=None):
        super().__init__()
        self.names = names
        if folder is None and writer is None:
            raise ValueError("Pictures go to a folder, a writer of tf.summary, or both; got none.")
        self.data, self.levels, self.every, self.count = data, levels, every, count
        self.folder = None if folder is None else pathlib.Path(folder)
        self.writer = writer or tf.summary.create_noop_writer()

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            with averaged_weights(self.model):
                self.draw()

    def draw(self):
        """Draws now, for the step that the optimizer is at."""
        step = int(self.model.optimizer.iterations.numpy())
        shown = self.data[: self.count]
        figures = self._figures(shown)
        report = reconstruction(self.model, shown)
        with self.writer.as_default(step=step):
            tf.summary.scalar("inverse_iterations", report["iterations"])
            error = report["max_abs_error"]
            tf.summary.scalar("reconstruction_error", math.inf if error is None else error)
            for name, figure in figures.items():
                if self.folder is not None:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    figure.savefig(self.folder / f"{name}-{step:08d}.png")
                tf.summary.image(name, plots.as_array(figure))

    def _figures(self, shown):
        own = self.model.dequantize
        levels = self.levels if own is None else own.levels
        if levels is None and len(shown.shape) == 2:
            return {"density": samples_figure(self.model, self.data, 2000, names=self.names)}
        if levels is None or len(shown.shape) != 4:
            raise ValueError(
                "Pictures are of vectors, or of images with levels: Pictures(data, "
                f"…, levels=256); received data of shape {tuple(shown.shape)}, levels {levels}."
            )
        restored = reconstructed(self.model, shown)
        figures = {
            "data": plots.image_grid(shown, levels),
            "reconstructions": plots.image_grid(restored, levels),
        }
        if hasattr(self.model, "sample"):
            figures["samples"] = samples_figure(self.model, self.data, self.count)
        return figures


class Certificate(keras.callbacks.Callback):
    """Certifies every residual block of any Keras model: ``Lip(g) < 1``, or a warning, or a stop.

    The largest certified bound stands as ``certified_lipschitz`` among the figures of the
    epoch: ``inf`` where a block's constant is not known.

    Args:
        stop: whether to stop training, beside the warning, where a block is not certified.
        every: epochs between certificates.

    Example::

        model.fit(x, callbacks=[irn.callbacks.Certificate(stop=True)])
    """

    def __init__(self, stop=False, every=1):
        super().__init__()
        self.stop, self.every = stop, every

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        bounds = lipschitz_bounds(self.model)
        logs["certified_lipschitz"] = max(bounds.values(), default=0.0)
        # Also true of a bound that is not a number.
        loose = {name: bound for name, bound in bounds.items() if not bound < 1.0}
        if not loose:
            return
        warnings.warn(f"Epoch {epoch + 1}: not certified a contraction: {loose}", stacklevel=2)
        self.model.stop_training = self.model.stop_training or self.stop


def _shown(logs):
    return [name for name in ("bits_per_dim", "loss") if name in logs][:1]
