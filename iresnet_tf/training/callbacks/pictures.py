"""Draws a model while it trains."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.evaluation import reconstruction
from iresnet_tf.analysis.plots.models import reconstructed
from iresnet_tf.models import FlowModel
from iresnet_tf.training.averaging import averaged_weights


class Pictures(keras.callbacks.Callback):
    """Draws a model of this package while it trains, to PNG files, to TensorBoard, or to both.

    For images it draws data, reconstructions and, if the model has a density, samples.  For
    points of the plane it draws the density and samples; for longer vectors, pairs of the first
    elements.  It also writes the scalars ``inverse_iterations`` and ``reconstruction_error``.

    Args:
        data: test examples to show.
        folder: folder for the PNG files, which is created if it does not exist.
        writer: writer of `tf.summary`.
        levels: number of levels of images; by default that of the model.
        every: number of epochs between pictures.
        count: number of images shown.
        names: names of the elements of a vector.
        context: the contexts of ``data``, ``[n, …context_shape]``, for a model of vectors that
            takes one; every sample is drawn for one of them.

    Raises:
        ValueError: for neither folder nor writer; in ``fit``, for a model that is not of this
            package, one that takes a context and gets none, or the other way round; when it
            draws, for images of unknown levels.

    Example::

        model.fit(x, epochs=50, callbacks=[irn.callbacks.Pictures(test, "pictures", every=10)])
    """

    def __init__(
        self,
        data: np.ndarray,
        folder: str | os.PathLike[str] | None = None,
        *,
        writer: tf.summary.SummaryWriter | None = None,
        levels: int | None = None,
        every: int = 1,
        count: int = 64,
        names: Sequence[str] | None = None,
        context: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        if folder is None and writer is None:
            raise ValueError(
                "Pictures needs a folder, a writer of tf.summary, or both; received neither."
            )
        self.data, self.levels, self.every, self.count = data, levels, every, count
        self.folder = None if folder is None else pathlib.Path(folder)
        self.writer = writer or tf.summary.create_noop_writer()
        self.names, self.context = names, context

    def set_model(self, model: keras.Model) -> None:
        if not isinstance(model, FlowModel):
            raise ValueError(
                f"Pictures draws models of this package; received {type(model).__name__}. Leave "
                "the callback out, or draw in a keras.callbacks.LambdaCallback."
            )
        if model.takes_context != (self.context is not None):
            raise ValueError(
                f"{model.name} takes {'a' if model.takes_context else 'no'} context; Pictures "
                f"received {'none' if self.context is None else 'some'}: Pictures(data, …, "
                "context=…)."
            )
        super().set_model(model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.every == 0:
            with averaged_weights(self.model):
                self.draw()

    def draw(self) -> None:
        """Draws the model now; the file names contain the step of the optimizer."""
        step = int(self.model.optimizer.iterations.numpy())
        shown = self.data[: self.count]
        pictures = self._draw_all(shown)
        context = None if self.context is None else self.context[: self.count]
        report = reconstruction(self.model, shown, context=context)
        with self.writer.as_default(step=step):
            tf.summary.scalar("inverse_iterations", report.iterations)
            tf.summary.scalar("reconstruction_error", report.max_abs_error)
            for name, picture in pictures.items():
                if self.folder is not None:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    picture.savefig(self.folder / f"{name}-{step:08d}.png")
                tf.summary.image(name, plots.as_array(picture))

    def _draw_all(self, shown: np.ndarray) -> dict[str, Figure]:
        dequantize = self.model.dequantize
        levels = self.levels if dequantize is None else dequantize.levels
        if self.context is not None and len(shown.shape) == 2:
            x, context = self.data[:2000], self.context[:2000]
            drawn = plots.conditional_samples(self.model, x, context, names=self.names)
            return {"samples": drawn}
        if levels is None and len(shown.shape) == 2:
            return {"density": plots.samples(self.model, self.data, count=2000, names=self.names)}
        if levels is None or len(shown.shape) != 4:
            raise ValueError(
                "Pictures draws vectors, or images with levels: Pictures(data, …, levels=256); "
                f"received data of shape {tuple(shown.shape)}, levels {levels}."
            )
        restored = reconstructed(self.model, shown)
        pictures = {
            "data": plots.image_grid(shown, levels),
            "reconstructions": plots.image_grid(restored, levels),
        }
        if self.model.has_density:
            pictures["samples"] = plots.samples(self.model, self.data, count=self.count)
        return pictures
