"""The certificate of a model while it trains."""

import warnings
from typing import Any

import keras

from iresnet_tf.layers import lipschitz_bounds


class Certificate(keras.callbacks.Callback):
    """Certifies every residual block of any Keras model, ``Lip(g) < 1``, or warns.

    It adds the largest certified bound to the metrics of the epoch as ``certified_lipschitz``:
    ``inf`` if the constant of a block is not known.

    Args:
        stop: whether to stop training, in addition to the warning, if a block is not certified.
        every: number of epochs between certificates.

    Example::

        model.fit(x, callbacks=[irn.callbacks.Certificate(stop=True)])
    """

    def __init__(self, stop: bool = False, *, every: int = 1) -> None:
        super().__init__()
        self.stop, self.every = stop, every

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.every:
            return
        bounds = lipschitz_bounds(self.model)
        logs["certified_lipschitz"] = max(bounds.values(), default=0.0)
        # Written so that a bound of NaN counts as loose.
        loose = {name: bound for name, bound in bounds.items() if not bound < 1.0}
        if not loose:
            return
        warnings.warn(f"Epoch {epoch + 1}: not certified as contractions: {loose}", stacklevel=2)
        self.model.stop_training = self.model.stop_training or self.stop
