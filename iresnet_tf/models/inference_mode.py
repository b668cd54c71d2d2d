"""The check that a conditioner, the network of a context, is the same in training and inference."""

from typing import Any

import keras

from iresnet_tf.internals import all_layers
from iresnet_tf.layers import residual_blocks

_ACTING = (
    keras.layers.AlphaDropout,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


def require_inference_mode(flow: keras.layers.Layer) -> None:
    """Refuses a conditioner that acts differently in training than in inference.

    ``log p(x | c)`` is one function of ``x`` and ``c``: the model calls conditioners in inference
    mode, and has no loss but its own, so noise, batch statistics and penalties in them would
    silently have no effect.  Frozen layers are accepted.

    Args:
        flow: an invertible layer.

    Raises:
        ValueError: for such a conditioner.
    """
    for block in residual_blocks(flow):
        conditioner = getattr(block.g, "conditioner", None)
        differing = [] if conditioner is None else _differing(conditioner)
        if differing:
            raise ValueError(
                f"The conditioner of {block.name} is called in inference mode, also in fit, and "
                "the loss is the model's own: dropout, noise, batch statistics and regularizers "
                f"in it would have no effect; received {', '.join(differing)}. Leave them out "
                "(LayerNormalization takes no batch statistics, weight_decay of the optimizer is "
                "a penalty), or freeze a network that is trained already: trainable = False."
            )


def _differing(network: keras.layers.Layer) -> list[str]:
    """Returns the names of the layers that act, or have a penalty, in training alone."""
    return [
        each.name
        for each in all_layers(network)
        if each.trainable and (_acts_in_training(each) or _is_penalised(each))
    ]


def _acts_in_training(layer: Any) -> bool:
    # Recurrent and attention layers have dropout rates of their own.
    rates = [getattr(layer, name, 0.0) for name in ("dropout", "recurrent_dropout")]
    return isinstance(layer, _ACTING) or any(rates)


def _is_penalised(layer: Any) -> bool:
    return any(
        value is not None for name, value in vars(layer).items() if name.endswith("regularizer")
    )
