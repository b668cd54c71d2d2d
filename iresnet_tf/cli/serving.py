"""Defines the subcommand ``export``."""

import contextlib
import pathlib

import click

from iresnet_tf import training
from iresnet_tf.cli.options import PATH, parse_estimator, run_command
from iresnet_tf.cli.output import require_writable
from iresnet_tf.layers.blocks import estimator_replaced

_FORMATS = {"saved-model": "tf_saved_model", "onnx": "onnx"}
"""The formats that the command takes, and their names in `export` of a model."""


@run_command
@click.option("--out", required=True, type=PATH, help="The new folder of the SavedModel.")
@click.option("--log-det", "log_det", help="See evaluate; by default that of the model.")
@click.option(
    "--format",
    "format",
    type=click.Choice(list(_FORMATS)),
    default="saved-model",
    show_default=True,
    help="onnx: files that run without TensorFlow; needs tf2onnx.",
)
@click.option(
    "--evaluations", type=click.IntRange(1), help="Of every block in the inverse, for onnx."
)
def export(
    run: pathlib.Path,
    out: pathlib.Path,
    log_det: str | None,
    format: str,
    evaluations: int | None,
) -> None:
    """Export RUN (or a model file or pretrained name) as a SavedModel, or as ONNX files."""
    if format == "onnx" and log_det is not None:
        raise ValueError("ONNX files have a series of their own: leave --log-det out.")
    if format != "onnx" and evaluations is not None:
        raise ValueError("--evaluations is for --format onnx: a SavedModel iterates as it needs.")
    require_writable(out)
    model, estimator = training.load(run), parse_estimator(log_det)
    with contextlib.ExitStack() as stack:
        if estimator is not None:
            stack.enter_context(estimator_replaced(model.flow, estimator))
        model.export(out, _FORMATS[format], evaluations=evaluations)
    click.echo(f"wrote {out}")
