"""Whether the blocks of a model stay contractions while it trains."""

import warnings

import keras

from iresnet_tf.layers import lipschitz_bounds


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
