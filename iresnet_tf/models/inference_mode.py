"""What the networks of the context may hold, where a model trains them in inference mode."""

import keras

from iresnet_tf.layers import residual_blocks

_ACTING = (
    keras.layers.AlphaDropout,
    keras.layers.BatchNormalization,
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
        flow: an invertible layer.
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
    """Names of the layers that act, or are held to a penalty, in training alone."""
    return [
        each.name
        for each in network._flatten_layers()
        if each.trainable and (_acts_in_training(each) or _is_penalised(each))
    ]


def _acts_in_training(layer):
    # Recurrent and attention layers have a dropout of their own.
    rates = [getattr(layer, name, 0.0) for name in ("dropout", "recurrent_dropout")]
    return isinstance(layer, _ACTING) or any(rates)


def _is_penalised(layer):
    return any(
        value is not None for name, value in vars(layer).items() if name.endswith("regularizer")
    )
