"""The commands that evaluate, certify and export a run."""

import contextlib
import json
import sys

import click

from iresnet_tf import analysis
from iresnet_tf.analysis.evaluation import estimator_replaced
from iresnet_tf.cli import options
from iresnet_tf.cli.files import load_run
from iresnet_tf.training.pretrained import load
from iresnet_tf.training.run_folder import write_json


@click.command()
@options.run_argument
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test")
@click.option(
    "--log-det",
    "estimator",
    type=options.LogDetType(),
    help="exact, a number of terms of the series, or russian-roulette; by default exact up to 256 "
    "dimensions, else the shortest series with a truncation bound of 0.005 bits/dim.",
)
@click.option("--passes", type=click.IntRange(1), help="Passes, each with new noise and probes.")
@click.option("--examples", type=click.IntRange(1), help="Only the first of the split; else all.")
@options.seed_option
@options.data_dir_option
def evaluate(run, split, estimator, passes, examples, seed, data_dir):
    """Evaluate RUN: likelihood with its errors, reconstruction, certificate; as JSON."""
    model, source = load_run(run, data_dir)
    x, y = source.examples(split, examples)
    result = analysis.evaluate(model, x, y, estimator=estimator, passes=passes, seed=seed)
    if run.is_dir():
        write_json(run / "evaluation.json", {"split": split, **result})
    click.echo(json.dumps(result, indent=2))


@click.command()
@options.run_argument
def certify(run):
    """Certify RUN: every layer's norm and its coefficient; exit status 1 if a block fails."""
    certificate = analysis.certify(load(run))
    click.echo(json.dumps(certificate, indent=2))
    sys.exit(0 if certificate["certified"] else 1)


@click.command()
@options.run_argument
@click.option("--out", required=True, type=options.PATH, help="The folder of the SavedModel; new.")
@click.option(
    "--log-det",
    "estimator",
    type=options.LogDetType(),
    help="As for evaluate; by default the model's own.",
)
def export(run, out, estimator):
    """Export RUN (or a model file or pretrained name) as a SavedModel that needs no package."""
    model = load(run)
    with contextlib.ExitStack() as stack:
        if estimator is not None:
            stack.enter_context(estimator_replaced(model.flow, estimator))
        model.export(out)
    click.echo(f"wrote {out}")
