"""Defines the subcommand ``export``."""

import contextlib
import pathlib

import click

from iresnet_tf import training
from iresnet_tf.cli.options import PATH, parse_estimator, run_command
from iresnet_tf.cli.output import require_writable
from iresnet_tf.layers.blocks import estimator_replaced


@run_command
@click.option("--out", required=True, type=PATH, help="The new folder of the SavedModel.")
@click.option("--log-det", "log_det", help="See evaluate; by default that of the model.")
def export(run: pathlib.Path, out: pathlib.Path, log_det: str | None) -> None:
    """Export RUN (or a model file or pretrained name) as a SavedModel for bare TensorFlow."""
    require_writable(out)
    model, estimator = training.load(run), parse_estimator(log_det)
    with contextlib.ExitStack() as stack:
        if estimator is not None:
            stack.enter_context(estimator_replaced(model.flow, estimator))
        model.export(out)
    click.echo(f"wrote {out}")
