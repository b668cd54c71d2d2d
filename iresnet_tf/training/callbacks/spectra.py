"""The norms of the constrained layers while a model trains."""

from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers import act_norms, spectral_layers


class Spectra(keras.callbacks.Callback):
    """``min(σ, c)`` of every constrained layer after an epoch, in any Keras model.

    It adds the largest to the metrics of the epoch as ``largest_sigma``, so history and
    TensorBoard have it.

    Args:
        writer: writer of `tf.summary` for the histograms ``sigma`` and ``act_norm_scale``; by
            default none are written.

    Example::

        writer = tf.summary.create_file_writer("logs")
        model.fit(x, callbacks=[irn.callbacks.Spectra(writer)])
    """

    def __init__(self, writer: tf.summary.SummaryWriter | None = None) -> None:
        super().__init__()
        self.writer = writer or tf.summary.create_noop_writer()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        sigmas = [
            min(float(layer.spectral_norm()), layer.lipschitz_target())
            for layer in spectral_layers(self.model)
        ]
        scales = [tf.exp(norm.log_scale.value) for norm in act_norms(self.model)]
        logs["largest_sigma"] = max(sigmas, default=0.0)
        with self.writer.as_default(step=int(self.model.optimizer.iterations.numpy())):
            tf.summary.histogram("sigma", sigmas)
            if scales:
                tf.summary.histogram("act_norm_scale", tf.concat(scales, 0))
