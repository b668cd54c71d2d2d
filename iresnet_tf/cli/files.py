"""The model of a run, and the files that commands write."""

import pathlib
from typing import Any

import click
import keras
import tensorflow as tf
from matplotlib.figure import Figure

from iresnet_tf.data.sources import Source
from iresnet_tf.numerics.execution import threads
from iresnet_tf.training import presets
from iresnet_tf.training.pretrained import load, pretrained_names
from iresnet_tf.training.run_folder import RunFolder, write_json
from iresnet_tf.training.train import open_source


def load_run(run: pathlib.Path, data_dir: pathlib.Path | None) -> tuple[keras.Model, Source]:
    """Returns the model of a run folder or pretrained name, and its data."""
    is_pretrained = str(run) in pretrained_names() and not run.exists()
    preset = presets.get(str(run)) if is_pretrained else RunFolder(run).read_config()["preset"]
    set_threads(preset.intra_op_threads)
    return load(run), open_source(preset, data_dir)


def set_threads(intra_op: int | str | None) -> None:
    """Sets the number of threads inside an operation, from a preset's ``intra_op_threads``."""
    if intra_op == "auto":
        is_large = threads.cores() > threads.MAX_PARTS
        intra_op = None if is_large or tf.config.get_visible_devices("GPU") else 1
    threading = tf.config.threading
    if intra_op in (None, threading.get_intra_op_parallelism_threads()):
        return
    try:
        threading.set_intra_op_parallelism_threads(intra_op)
    except RuntimeError:
        # TensorFlow has started in this process, and keeps the threads that it has.
        click.echo("intra_op_threads has no effect: TensorFlow is running already.", err=True)


def require_new(path: pathlib.Path, *suffixes: str) -> None:
    """Refuses a file to write that exists, or that ends in none of the suffixes."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out ends in {' or '.join(suffixes)}; received {path}.")
    files = [path] if path.suffix.lower() == ".csv" else [path, path.with_suffix(".json")]
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} exists already; choose another --out.")


def write_picture(figure: Figure, numbers: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a picture, and its numbers as JSON next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    write_json(path.with_suffix(".json"), numbers)
    click.echo(f"wrote {path} and {path.with_suffix('.json').name}")
