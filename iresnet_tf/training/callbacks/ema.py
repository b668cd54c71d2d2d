"""Evaluation of the moving average of the weights."""

import contextlib
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers import refresh
from iresnet_tf.training.averaging import averaged_weights


class EMA(keras.callbacks.Callback):
    """``θ̄ ← m θ̄ + (1 − m) θ``: validates the average ``θ̄`` of the weights in ``fit``.

    The optimizer keeps the average.  This callback exchanges it for the weights during every
    evaluation, with spectral vectors refined for it, and then restores the weights to the bit,
    also if the evaluation fails or is interrupted.  When ``fit`` ends, Keras leaves the average
    in the model; then the vectors are refined for it, so that the constraint holds.

    Raises:
        ValueError: when training begins, if the optimizer keeps no average.

    Example::

        model.compile(keras.optimizers.Adam(2e-3, use_ema=True, ema_momentum=0.99))
        model.fit(x, validation_split=0.1, callbacks=[irn.callbacks.EMA()])

    Source: Polyak and Juditsky 1992 (doi:10.1137/0330046), for averaged iterates.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exchanged = contextlib.ExitStack()

    def on_train_begin(self, logs: Any = None) -> None:
        if not self.model.optimizer.use_ema:
            raise ValueError(
                "The optimizer keeps no moving average. Make it with use_ema=True, for example "
                "keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.99)."
            )

    def on_test_begin(self, logs: Any = None) -> None:
        self._exchanged.enter_context(averaged_weights(self.model))
        step = self.model.test_function
        self._exchanged.callback(setattr, self.model, "test_function", step)
        self.model.test_function = self._guarded(step)

    def on_test_end(self, logs: Any = None) -> None:
        self._exchanged.close()

    def on_train_end(self, logs: Any = None) -> None:
        refresh(self.model)

    def _guarded(self, step):
        """Returns a step that ends the exchange if it fails, which Keras tells no callback."""

        def guarded(iterator):
            try:
                return step(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                # This is only the end of the data.
                raise
            except BaseException:
                self._exchanged.close()
                raise

        return guarded
