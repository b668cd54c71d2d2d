"""Pictures of a model while it trains."""

import math
import pathlib

import keras
import tensorflow as tf

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.evaluation import reconstruction
from iresnet_tf.analysis.samples import reconstructed, samples_figure
from iresnet_tf.training.averaging import averaged_weights


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
        ValueError: for neither folder nor writer; in ``fit``, for a model that takes a context;
            when it draws, for images of unknown levels.

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

    def set_model(self, model):
        if getattr(model, "takes_context", False):
            raise ValueError(
                f"Pictures are of models that take no context; {model.name} takes one. Draw "
                "samples of some contexts in a keras.callbacks.LambdaCallback."
            )
        super().set_model(model)

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
        if self.model.has_density:
            figures["samples"] = samples_figure(self.model, self.data, self.count)
        return figures
