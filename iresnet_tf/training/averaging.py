"""Exchanges the weights of a model for the moving average that its optimizer keeps."""

import contextlib
from collections.abc import Iterator

import keras

from iresnet_tf.internals import moving_averages
from iresnet_tf.layers import refresh


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Gives the model the moving average of its weights within a ``with`` statement.

    The spectral vectors are refined for the averages.  Afterwards every weight and vector is
    restored to the bit.  Nothing changes unless the optimizer has ``use_ema=True``.  The weights
    of the model itself change, for all threads: a thread that uses it meanwhile needs a copy.

    Example::

        with irn.callbacks.averaged_weights(model):
            model.save("averaged.keras")
    """
    if not model.optimizer.use_ema:
        yield
        return
    before = [weight.numpy() for weight in model.weights]
    try:
        for variable, average in moving_averages(model.optimizer):
            variable.assign(average)
        refresh(model)
        yield
    finally:
        for weight, value in zip(model.weights, before):
            weight.assign(value)
