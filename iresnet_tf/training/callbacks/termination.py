"""The end of a training that went wrong."""

import math
import warnings

import keras

from iresnet_tf.layers.finiteness import layers_not_finite
from iresnet_tf.layers.inputs import REMEDY


class TerminateOnNaN(keras.callbacks.Callback):
    """Stops training at a loss or gradient with NaN or Inf, and names the layers it reached.

    It reads the figures that a step returns anyway: ``loss``, and ``max_gradient`` of this
    package's models.  A density model stops earlier, by an error of ``fit`` that names the
    layer, where a layer returns NaN or Inf while its weights are finite.

    Example::

        model.fit(x, callbacks=[irn.callbacks.TerminateOnNaN()])
    """

    def on_train_batch_end(self, batch, logs=None):
        figures = ("loss", "max_gradient")
        broken = [name for name in figures if not math.isfinite(logs.get(name, 0.0))]
        if not broken:
            return
        spoiled = layers_not_finite(self.model)
        where = "All weights are finite: the loss itself is not."
        if spoiled:
            where = (
                f"The first layer whose weights are not finite is {spoiled[0]}, the last "
                f"{spoiled[-1]} ({len(spoiled)} in all); a gradient that is not finite reaches "
                "every layer between the data and its origin."
            )
        warnings.warn(
            f"Batch {batch + 1}: {' and '.join(broken)} not finite, so training stops. {where} "
            f"{REMEDY}",
            stacklevel=2,
        )
        self.model.stop_training = True
