"""Keras callbacks: what a run writes down and shows while it trains."""

import json
import warnings

import keras
import numpy as np
import tensorflow as tf
import tqdm

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.evaluation import reconstruction
from iresnet_tf.layers import spectral_layers


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
        step = int(self.model.optimizer.iterations)
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
        self.save(self.model, self.run.checkpoint(int(self.model.optimizer.iterations)))
        for old in self.run.latest_checkpoints()[self.KEPT :]:
            old.unlink()


class Scalars(keras.callbacks.Callback):
    """TensorBoard scalars an epoch: the figures of the epoch, the largest ``σ``, the learning rate.

    ``bits_per_dim`` or ``loss`` (nats), ``log_prior`` (``log p(z)``), ``log_det``,
    ``largest_sigma`` (of the constrained layers, estimated), ``learning_rate``.

    Args:
        writer: of `tf.summary`.
    """

    def __init__(self, writer):
        super().__init__()
        self.writer = writer

    def on_epoch_end(self, epoch, logs=None):
        step = int(self.model.optimizer.iterations)
        sigmas = [
            min(float(layer.spectral_norm()), layer.coeff) for layer in spectral_layers(self.model)
        ]
        with self.writer.as_default(step=step):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            tf.summary.scalar("largest_sigma", max(sigmas, default=0.0))
            tf.summary.scalar("learning_rate", float(self.model.optimizer.learning_rate))


class Pictures(keras.callbacks.Callback):
    """Pictures of the run, in its folder and in TensorBoard, every few epochs.

    Images: data, reconstructions, samples.  2-D points: the density and samples.
    Beside them the scalar ``inverse_iterations`` of a reconstruction.

    Args:
        folder: for the PNG files.
        writer: of `tf.summary`.
        data: test examples to show.
        every: epochs between pictures.
        count: images shown.
    """

    def __init__(self, folder, writer, data, every=10, count=64):
        super().__init__()
        self.folder, self.writer, self.data = folder, writer, data
        self.every, self.count = every, count

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self.draw()

    def draw(self):
        """Draws now, for the step that the optimizer is at."""
        step = int(self.model.optimizer.iterations)
        shown = self.data[: self.count]
        report = reconstruction(self.model, shown)
        figures = self._figures(shown)
        with self.writer.as_default(step=step):
            tf.summary.scalar("inverse_iterations", report["iterations"])
            for name, figure in figures.items():
                figure.savefig(self.folder / f"{name}-{step:08d}.png")
                tf.summary.image(name, plots.as_array(figure))

    def _figures(self, shown):
        model = self.model
        if model.dequantize is None:
            samples = model.sample(2000, seed=0).numpy()
            figure = plots.density_and_samples(
                lambda points: model.predict(points, batch_size=4096, verbose=0),
                samples,
                self.data[:2000],
            )
            return {"density": figure}
        levels = model.dequantize.levels
        noisy = model.dequantize.add_noise(shown, 0)
        restored = model.dequantize.to_levels(model.decode(model.encode(noisy)))
        samples = model.sample(self.count, seed=0)
        return {
            "data": plots.image_grid(shown, levels),
            "reconstructions": plots.image_grid(np.asarray(restored), levels),
            "samples": plots.image_grid(np.asarray(samples), levels),
        }


class Certificate(keras.callbacks.Callback):
    """Certifies every block after an epoch; warns, or stops, where one is no contraction.

    Args:
        stop: whether to stop training instead of warning.
    """

    def __init__(self, stop=False):
        super().__init__()
        self.stop = stop

    def on_epoch_end(self, epoch, logs=None):
        loose = {
            name: bound for name, bound in self.model.lipschitz_bounds().items() if bound >= 1.0
        }
        if not loose:
            return
        warnings.warn(f"Epoch {epoch + 1}: not certified a contraction: {loose}", stacklevel=2)
        self.model.stop_training = self.model.stop_training or self.stop


def _shown(logs):
    return [name for name in ("bits_per_dim", "loss") if name in logs][:1]
