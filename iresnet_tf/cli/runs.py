"""Opens the model and the data of a run, and sets the threads that it asks for."""

import pathlib

import click
import keras
import tensorflow as tf

from iresnet_tf import training
from iresnet_tf.data import Source
from iresnet_tf.numerics.execution import threads


def open_run(
    run: pathlib.Path, *, data_dir: pathlib.Path | None = None
) -> tuple[keras.Model, Source]:
    """Returns the model of a run folder or of a pretrained name, and its data source."""
    is_pretrained = str(run) in training.pretrained_names() and not run.exists()
    if is_pretrained:
        preset = training.card(str(run)).run.preset
    else:
        preset = training.RunFolder(run).read_run().preset
    set_threads(preset.intra_op_threads)
    model = training.load(run)
    return model, training.open_source(preset, data_dir=data_dir).fitting(model)


def set_threads(intra_op: int | str | None) -> None:
    """Sets the number of threads inside one operation: `intra_op_threads` of a preset.

    If TensorFlow is already running, it prints that this has no effect.
    """
    if intra_op == "auto":
        is_large = threads.cores() > threads.MAX_PARTS
        intra_op = None if is_large or tf.config.get_visible_devices("GPU") else 1
    threading = tf.config.threading
    if intra_op in (None, threading.get_intra_op_parallelism_threads()):
        return
    try:
        threading.set_intra_op_parallelism_threads(intra_op)
    except RuntimeError:
        click.echo("intra_op_threads has no effect: TensorFlow is running already.", err=True)
