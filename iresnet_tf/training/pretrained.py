"""Loads trained models by name, run folder or file."""

import importlib.resources
import os
import pathlib

import keras

from iresnet_tf.training.model_files import load_model
from iresnet_tf.training.run_folder import RunFolder

_FOLDER = importlib.resources.files("iresnet_tf") / "pretrained"


def pretrained_names() -> tuple[str, ...]:
    """Returns the names of the trained models that ship with the package."""
    files = (file.name for file in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".keras") for name in files if name.endswith(".keras")))


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
