"""The moving average of the weights that an optimizer keeps."""

import contextlib
from collections.abc import Iterator

import keras

from iresnet_tf.internals import moving_averages
from iresnet_tf.layers import refresh


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Gives the model the optimizer's moving average of its weights while the block runs.

    The spectral vectors are refined for the averages.  Afterwards every weight and vector is
    restored to the bit.  If the optimizer keeps no average, nothing changes.

    Args:
        model: a Keras model, compiled with an optimizer of ``use_ema=True``.

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
