"""The end of a training that has met NaN or Inf."""

import math
import warnings
from typing import Any

import keras

from iresnet_tf.layers.finiteness import layers_not_finite
from iresnet_tf.layers.inputs import REMEDY


class TerminateOnNaN(keras.callbacks.Callback):
    """Stops training at a loss or gradient with NaN or Inf, and names the layers it reached.

    It reads the metrics that a step returns anyway: ``loss``, and ``max_gradient`` for the models
    of this package.  If a layer with finite weights returns NaN or Inf, a density model stops
    earlier, by an error of ``fit`` that names the layer.

    Example::

        model.fit(x, callbacks=[irn.callbacks.TerminateOnNaN()])
    """

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        metrics = ("loss", "max_gradient")
        broken = [name for name in metrics if not math.isfinite(logs.get(name, 0.0))]
        if not broken:
            return
        layers = layers_not_finite(self.model)
        where = "All weights are finite: the loss itself is not."
        if layers:
            where = (
                f"The first layer whose weights are not finite is {layers[0]}, the last "
                f"{layers[-1]} ({len(layers)} in all); a gradient that is not finite reaches "
                "every layer between the data and its origin."
            )
        warnings.warn(
            f"Batch {batch + 1}: {' and '.join(broken)} not finite, so training stops. {where} "
            f"{REMEDY}",
            stacklevel=2,
        )
        self.model.stop_training = True
