"""Refuses layers whose losses would be ignored, or that act differently in training."""

import numbers

import keras

from iresnet_tf.internals import added_losses, all_layers, inner_layers, takes_training
from iresnet_tf.layers import Invertible
from iresnet_tf.layers.contractive import ContractiveLayer

_ACTING = (keras.layers.BatchNormalization, keras.layers.SpectralNormalization)
_INERT = (keras.layers.CenterCrop, keras.layers.Resizing)


def require_inference_mode(model: keras.Model) -> None:
    """Raises `ValueError` if a layer of a density acts differently in training, or has a penalty
    on its activations.

    ``log p(x)`` is a function of ``x`` alone, and only such functions have a certificate.  The
    model therefore calls the layers of its flow and its prior in inference mode, so noise, dropout
    and batch statistics would silently have no effect.  Frozen layers are accepted.
    """
    conditioners = _conditioners(model)
    differing = [
        layer.name
        for layer in [*all_layers(model.flow), *all_layers(model.prior)]
        if (layer.trainable and _acts_in_training(layer))
        or (layer.activity_regularizer is not None and _counts(layer, conditioners))
    ]
    if differing:
        raise ValueError(
            f"{model.name} calls its layers in inference mode, even in fit, and its loss counts "
            "the regularizers of weights alone, so noise, dropout, batch statistics and "
            f"activity_regularizer would have no effect; received {', '.join(differing)}. Leave "
            "them out (LayerNormalization uses no batch statistics), or freeze a network that is "
            "already trained: trainable = False."
        )


def require_no_added_losses(model: keras.Model) -> None:
    """Raises `ValueError` if a layer has called ``add_loss``, which a density does not count."""
    conditioners = _conditioners(model)
    adding = [
        layer.name
        for layer in all_layers(model)
        if added_losses(layer) and _counts(layer, conditioners)
    ]
    if adding:
        raise ValueError(
            f"The loss of {model.name} is the negative log-likelihood and the regularizers of "
            f"weights; it does not count add_loss, which {', '.join(adding)} called. Write a "
            "penalty on weights as a regularizer, and train with a loop of your own for others."
        )


def require_called_layers(flow: keras.layers.Layer) -> None:
    """Raises `ValueError` for an ``activity_regularizer`` of a layer whose map is bound instead."""
    bound = [layer for layer in all_layers(flow) if isinstance(layer, ContractiveLayer)]
    ignored = [layer.name for layer in bound if layer.activity_regularizer is not None]
    if ignored:
        raise ValueError(
            "A block applies the maps of its contractive layers without calling them, so their "
            f"activity_regularizer would have no effect; received {', '.join(ignored)}. Leave it "
            "out, or give it to the block."
        )


def _conditioners(model: keras.Model) -> set[int]:
    """Returns the identities of all layers in conditioners."""
    takers = (Invertible, ContractiveLayer)
    networks = [each.conditioner for each in all_layers(model.flow) if isinstance(each, takers)]
    return {id(layer) for network in networks if network for layer in all_layers(network)}


def _counts(layer: keras.layers.Layer, conditioners: set[int]) -> bool:
    """Returns whether a penalty on the layer's activations could depend on a trainable weight.

    The penalty of a frozen layer of a conditioner mostly does not: it depends on the context alone.
    """
    return layer.trainable or id(layer) not in conditioners


def _acts_in_training(layer: keras.layers.Layer) -> bool:
    # The package calls the hooks of its own layers, and those have no mode.
    if isinstance(layer, (Invertible, ContractiveLayer, *_INERT)):
        return False
    # Recurrent and attention layers have attributes for their dropout rates.
    names = ("rate", "stddev", "dropout", "recurrent_dropout")
    rates = [getattr(layer, name, None) for name in names]
    rates = [rate for rate in rates if isinstance(rate, numbers.Real)]
    if isinstance(layer, _ACTING) or any(rates):
        return True
    # A layer with layers inside may pass the mode on to them, and they are checked themselves.
    return takes_training(layer) and not (rates or inner_layers(layer) or _is_of_keras(layer))


def _is_of_keras(layer: keras.layers.Layer) -> bool:
    """Returns whether ``call`` is Keras's own and ignores the mode, unlike image augmentation."""
    module = type(layer).call.__module__
    return module.startswith("keras.") and "image_preprocessing" not in module
