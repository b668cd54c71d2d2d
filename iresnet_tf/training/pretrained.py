"""Loads trained models by name, run folder or file, and reads the cards of those that ship."""

import importlib.resources
import json
import os
import pathlib

import keras

from iresnet_tf.training.configuration import parsed
from iresnet_tf.training.model_cards import ModelCard
from iresnet_tf.training.model_files import load_model
from iresnet_tf.training.run_folder import RunFolder

_FOLDER = importlib.resources.files("iresnet_tf") / "pretrained"


def pretrained_names() -> tuple[str, ...]:
    """Returns the names of the trained models that ship with the package."""
    files = (file.name for file in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".keras") for name in files if name.endswith(".keras")))


def card(name: str) -> ModelCard:
    """Returns the card of a trained model that ships: what trained it, and what it reaches.

    Args:
        name: one of `pretrained_names`.

    Raises:
        FileNotFoundError: if no such model ships.
    """
    if name not in pretrained_names():
        raise FileNotFoundError(
            f"There is no pretrained model {name!r}: those are {', '.join(pretrained_names())}."
        )
    return parsed(ModelCard, json.loads((_FOLDER / f"{name}.json").read_text()))


def load(source: str | os.PathLike[str]) -> keras.Model:
    """Returns a trained Keras model.

    Args:
        source: a run folder, a ``.keras`` file, or a name of `pretrained_names`.
            A path that exists is preferred to a name.

    Returns:
        the model exactly as it was saved: loading initialises and refines nothing.

    Raises:
        FileNotFoundError: if nothing has that name or path.
        ValueError: if the file is truncated, damaged, or not a model.
    """
    path = pathlib.Path(source)
    if path.is_dir():
        return RunFolder(path).load_model()
    if path.is_file():
        return load_model(path)
    if str(source) in pretrained_names():
        with importlib.resources.as_file(_FOLDER / f"{source}.keras") as file:
            return load_model(file)
    raise FileNotFoundError(
        f"There is no run folder or model file at {os.fspath(source)!r}, and no pretrained model "
        f"of that name: those are {', '.join(pretrained_names()) or 'none'}."
    )
