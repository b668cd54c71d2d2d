"""Certifies a model while it trains."""

import math
import warnings
from typing import Any

import keras

from iresnet_tf.layers import lipschitz_bounds, vouched_blocks


class Certificate(keras.callbacks.Callback):
    """Checks ``Lip(g) < 1`` for every residual block of any Keras model, and warns if it fails.

    The metrics of the epoch receive the largest certified bound as ``certified_lipschitz``, which
    is ``inf`` if the constant of a block is unknown, or was given and not computed.  Such a block
    is named once in a warning, and does not stop the training.

    Args:
        stop: whether to stop training, in addition to the warning, if a block is not certified.
        every: number of epochs between checks.

    Example::

        model.fit(x, callbacks=[irn.callbacks.Certificate(stop=True)])
    """

    def __init__(self, stop: bool = False, *, every: int = 1) -> None:
        super().__init__()
        self.stop, self.every = stop, every
        self._named: list[str] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.every:
            return
        bounds = lipschitz_bounds(self.model)
        vouched = vouched_blocks(self.model)
        logs["certified_lipschitz"] = math.inf if vouched else max(bounds.values(), default=0.0)
        if vouched != self._named:
            self._named = vouched
            message = (
                f"Epoch {epoch + 1}: not certified, somebody vouched for a constant: {vouched}"
            )
            warnings.warn(message, stacklevel=2)
        # The comparison is negated so that a bound of NaN counts as loose.
        loose = {name: bound for name, bound in bounds.items() if not bound < 1.0}
        if loose:
            message = f"Epoch {epoch + 1}: not certified as contractions: {loose}"
            warnings.warn(message, stacklevel=2)
            self.model.stop_training = self.model.stop_training or self.stop
