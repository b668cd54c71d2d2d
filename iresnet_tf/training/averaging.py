"""The moving average of the weights, where the optimizer keeps one."""

import contextlib

from iresnet_tf.internals import moving_averages
from iresnet_tf.layers import refresh


@contextlib.contextmanager
def averaged_weights(model):
    """The model with the optimizer's moving average of its weights, inside the block.

    The spectral vectors are refined for them; afterwards every weight and vector is what
    it was, to the bit.  Without a moving average nothing is exchanged.

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
