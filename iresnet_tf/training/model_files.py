"""Reads and writes the files of models."""

import os
import pathlib
import re
import textwrap
import warnings

import keras

from iresnet_tf.files import written_whole
from iresnet_tf.layers import spectral_layers
from iresnet_tf.layers.finiteness import layers_not_finite
from iresnet_tf.models import FlowModel
from iresnet_tf.training import optimizers, schedules

SAVED_WITH_THE_OPTIMIZER = (optimizers.Adam, optimizers.Adamax, schedules.WarmUp)
"""Classes to which the file of a model refers; importing them registers them with Keras."""


def load_flow(path: str | os.PathLike[str]) -> FlowModel:
    """Returns the model of this package in a file; for the errors see `load_model`."""
    model = load_model(path)
    if not isinstance(model, FlowModel):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which is no model of this package. Restore "
            "the file, or train anew with another --out."
        )
    return model


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Returns the Keras model in a file, exactly as it was saved.

    This warns of spectral vectors that do not fit their kernels: their layers exceed the
    coefficient until `iresnet_tf.layers.refresh` is called.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, damaged, or not a model, or has weights that are not
            finite, or a class that is not registered with Keras.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model at {path}.")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        if unknown := re.search(r"Could not locate \w+ '(\w+)'", str(error)):
            raise ValueError(
                f"{path} holds the class {unknown[1]}, which is not registered with Keras here. "
                "Import the module that registers it first; the command does so with iresnet "
                "--plugin MODULE."
            ) from error
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) could not be read as a model of this package; "
            f"it may be truncated. It was not changed. ({type(error).__name__}: {_cause(error)})"
        ) from error
    spoiled = layers_not_finite(model)
    if spoiled:
        raise ValueError(
            f"{path} has weights of NaN or infinity in {spoiled[0]} and {len(spoiled) - 1} more "
            "layers: the training diverged, or the file is damaged. Take an earlier checkpoint."
        )
    stale = [layer.name for layer in spectral_layers(model) if layer.is_stale()]
    if stale:
        warnings.warn(
            f"{path}: the spectral vectors of {', '.join(stale)} do not fit their kernels, so "
            "these layers exceed their coefficient. Refine them with iresnet_tf.layers.refresh.",
            stacklevel=2,
        )
    return model


def _cause(error):
    """Returns one line of what went wrong in the innermost object, without its configuration.

    Keras puts the configuration of each object before the error that the object raised.
    """
    innermost = str(error).split("Exception encountered:")[-1]
    return textwrap.shorten(innermost, 300, placeholder=" …")


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Saves a model, whole or not at all."""
    with written_whole(path) as partial:
        model.save(partial)
