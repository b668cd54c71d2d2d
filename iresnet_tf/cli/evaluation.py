"""The subcommands ``evaluate`` and ``certify``."""

import json
import pathlib
import sys

import click

from iresnet_tf import analysis, training
from iresnet_tf.cli.options import PATH, SEED, clear_errors, data_dir, parse_estimator
from iresnet_tf.cli.runs import open_run
from iresnet_tf.files import write_json


@click.command()
@click.argument("run", type=PATH)
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test")
@click.option(
    "--log-det",
    "log_det",
    help="exact, a number of series terms, or russian-roulette; by default exact up to 256 "
    "dimensions, else the shortest series with a truncation bound of 0.005 bits/dim.",
)
@click.option("--passes", type=click.IntRange(1), help="Repetitions with fresh noise and probes.")
@click.option("--examples", type=click.IntRange(1), help="The first ones of the split; else all.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@data_dir
@clear_errors
def evaluate(
    run: pathlib.Path,
    split: str,
    log_det: str | None,
    passes: int | None,
    examples: int | None,
    seed: int,
    data_dir: pathlib.Path | None,
) -> None:
    """Evaluate RUN: likelihood with its errors, reconstruction, certificate; as JSON."""
    model, source = open_run(run, data_dir=data_dir)
    x, y = source.examples(split, examples)
    estimator = parse_estimator(log_det)
    result = analysis.evaluate(model, x, y, estimator=estimator, passes=passes, seed=seed).as_dict()
    if run.is_dir():
        write_json(run / "evaluation.json", {"split": split, **result})
    click.echo(json.dumps(result, indent=2))


@click.command()
@click.argument("run", type=PATH)
@clear_errors
def certify(run: pathlib.Path) -> None:
    """Certify RUN: every layer's norm and coefficient; exit status 1 if a block fails."""
    certificate = analysis.certify(training.load(run))
    click.echo(json.dumps(certificate.as_dict(), indent=2))
    sys.exit(0 if certificate.certified else 1)
