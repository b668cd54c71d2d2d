"""Checks that the network of a context acts in training as it does in inference."""

import keras

from iresnet_tf.internals import all_layers
from iresnet_tf.layers import residual_blocks
from iresnet_tf.layers.contractive import as_contractive

_ACTING = (
    keras.layers.AlphaDropout,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


def require_inference_mode(flow: keras.layers.Layer) -> None:
    """Raises `ValueError` if a conditioner acts differently in training than in inference.

    ``log p(x | c)`` is a function of ``x`` and ``c`` alone: the model calls conditioners in
    inference mode, and its loss has no other terms, so noise, batch statistics and penalties would
    silently have no effect.  Frozen layers are accepted.
    """
    for block in residual_blocks(flow):
        conditioner = as_contractive(block.g).conditioner
        differing = [] if conditioner is None else _differing(conditioner)
        if differing:
            raise ValueError(
                f"The conditioner of {block.name} is called in inference mode, even in fit, and "
                "the model has its own loss, so its dropout, noise, batch statistics and "
                f"regularizers would have no effect; received {', '.join(differing)}. Leave them "
                "out (LayerNormalization uses no batch statistics, weight_decay of the optimizer "
                "is a penalty), or freeze a network that is already trained: trainable = False."
            )


def _differing(network: keras.layers.Layer) -> list[str]:
    """Returns the names of the layers that act, or have a penalty, only in training."""

    def differs(layer):
        # Recurrent and attention layers have attributes for their dropout rates.
        rates = [getattr(layer, name, 0.0) for name in ("dropout", "recurrent_dropout")]
        penalties = [vars(layer)[name] for name in vars(layer) if name.endswith("regularizer")]
        return isinstance(layer, _ACTING) or any(rates) or any(p is not None for p in penalties)

    return [layer.name for layer in all_layers(network) if layer.trainable and differs(layer)]
