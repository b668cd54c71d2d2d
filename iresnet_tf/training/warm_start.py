"""Begins a training with the weights of a trained model."""

import os

import numpy as np

from iresnet_tf.models import FlowModel
from iresnet_tf.training.pretrained import load


def take_weights(model: FlowModel, source: str | os.PathLike[str]) -> None:
    """Gives a built model the weights of a trained one, which has the same layers.

    Everything that training changes is taken, with the spectral vectors and the statistics of
    batches and data.  The states of random generators stay those of the model, and so do its
    options: the loss, the dropout and the estimators may differ from those of the trained one.

    Args:
        model: the model, built.
        source: a run folder, a ``.keras`` file or a name of `iresnet_tf.training.pretrained_names`.

    Raises:
        FileNotFoundError: see `iresnet_tf.load`.
        ValueError: if the weights have other shapes; the model is not changed then.
    """
    own, given = _weights(model), _weights(load(source))
    pairs = list(zip(own, given))
    unlike = [pair for pair in pairs if pair[0].shape != pair[1].shape]
    if unlike or len(own) != len(given):
        reason = f"{len(given)} arrays of weights, and this model has {len(own)}"
        if unlike:
            mine, other = unlike[0]
            reason = f"{other.path} of shape {other.shape}, where this model has {mine.shape}"
        raise ValueError(
            f"initial_weights={os.fspath(source)} has {reason}. Take the weights of a model with "
            "the same layers, or train from the start: initial_weights=none."
        )
    for mine, other in pairs:
        mine.assign(other)


def _weights(model):
    """Returns the variables of floating numbers, in the order of the layers."""
    return [each for each in model.weights if np.issubdtype(each.dtype, np.floating)]
