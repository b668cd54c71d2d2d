"""Defines the subcommands ``evaluate`` and ``certify``."""

import json
import pathlib
import sys

import click

from iresnet_tf import analysis, training
from iresnet_tf.cli.options import SEED, data_dir, parse_estimator, run_command
from iresnet_tf.cli.runs import open_run
from iresnet_tf.files import write_json


@run_command
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test")
@click.option(
    "--log-det",
    "log_det",
    help="exact, krylov, a number of series terms, or russian-roulette; by default exact up to 256 "
    "dimensions, else a Krylov space with the fewest products whose truncation bound is 0.005 "
    "bits/dim, with colours in its first terms.",
)
@click.option("--passes", type=click.IntRange(1), help="Repetitions with other noise and probes.")
@click.option("--examples", type=click.IntRange(1), help="Number of examples; default all.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@data_dir
def evaluate(
    run: pathlib.Path,
    split: str,
    log_det: str | None,
    passes: int | None,
    examples: int | None,
    seed: int,
    data_dir: pathlib.Path | None,
) -> None:
    """Evaluate RUN and print likelihood, reconstruction and certificate as JSON."""
    model, source = open_run(run, data_dir=data_dir)
    x, y = source.measured(split, examples)
    estimator = parse_estimator(log_det)
    result = analysis.evaluate(model, x, y, estimator=estimator, passes=passes, seed=seed).as_dict()
    # The result is printed first, because it may be impossible to write it.
    click.echo(json.dumps(result, indent=2))
    if run.is_dir():
        write_json(run / "evaluation.json", {"split": split, **result})


@run_command
def certify(run: pathlib.Path) -> None:
    """Certify RUN: print the norms of all layers; exit with status 1 if a block fails.

    A block whose constant somebody vouched for, Contraction([...], lipschitz=...), fails too.
    """
    certificate = analysis.certify(training.load(run))
    click.echo(json.dumps(certificate.as_dict(), indent=2))
    if certificate.vouched:
        names = ", ".join(block.name for block in certificate.blocks if block.vouched)
        click.echo(
            f"Not certified: somebody vouched for the constant of {names} (lipschitz=…), and "
            "nothing checks it.",
            err=True,
        )
    sys.exit(0 if certificate.certified else 1)
