"""What the networks of the context may hold, where a model trains them in inference mode."""

import keras

from iresnet_tf.layers import residual_blocks

_NOISY = (
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


def require_inference_mode(flow):
    """Raises `ValueError` for a conditioner to which inference and training are not the same.

    ``log p(x | c)`` is one function of ``x`` and ``c``: the model calls conditioners in inference
    mode, and has no loss but its own, so noise, batch statistics and penalties in them would be
    left out in silence.  Frozen layers have none.

    Args:
        flow: a built invertible layer.
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


def _differing(network):
    """Names of the layers that act in training alone, and of penalised weights."""
    layers = [each for each in network._flatten_layers() if each.trainable]
    acting = [each.name for each in layers if _acts_in_training(each)]
    return acting + [
        weight.path for weight in network.trainable_variables if weight.regularizer is not None
    ]


def _acts_in_training(layer):
    return (
        isinstance(layer, (keras.layers.BatchNormalization, *_NOISY))
        or layer.activity_regularizer is not None
        # Of recurrent and attention layers.
        or bool(getattr(layer, "dropout", 0.0) or getattr(layer, "recurrent_dropout", 0.0))
    )
