"""The subcommand ``export``."""

import contextlib
import pathlib

import click

from iresnet_tf import training
from iresnet_tf.analysis.likelihood import estimator_replaced
from iresnet_tf.cli.options import PATH, clear_errors, parse_estimator


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", required=True, type=PATH, help="The folder of the SavedModel; new.")
@click.option("--log-det", "log_det", help="See evaluate; by default the model's own estimator.")
@clear_errors
def export(run: pathlib.Path, out: pathlib.Path, log_det: str | None) -> None:
    """Export RUN (or a model file or pretrained name) as a SavedModel that needs no package."""
    model, estimator = training.load(run), parse_estimator(log_det)
    with contextlib.ExitStack() as stack:
        if estimator is not None:
            stack.enter_context(estimator_replaced(model.flow, estimator))
        model.export(out)
    click.echo(f"wrote {out}")
