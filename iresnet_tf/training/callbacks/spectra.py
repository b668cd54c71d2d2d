"""The norms of the constrained layers while a model trains."""

import keras
import tensorflow as tf

from iresnet_tf.layers import act_norms, spectral_layers


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
            min(float(layer.spectral_norm()), layer.lipschitz_target())
            for layer in spectral_layers(self.model)
        ]
        scales = [tf.exp(norm.log_scale.value) for norm in act_norms(self.model)]
        logs["largest_sigma"] = max(sigmas, default=0.0)
        with self.writer.as_default(step=int(self.model.optimizer.iterations.numpy())):
            tf.summary.histogram("sigma", sigmas)
            if scales:
                tf.summary.histogram("act_norm_scale", tf.concat(scales, 0))
