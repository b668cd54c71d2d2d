"""The ``iresnet`` command: one module for each group of its subcommands."""

import click

from iresnet_tf.cli.evaluation import certify, evaluate
from iresnet_tf.cli.pictures import interpolate, reconstruct, sample
from iresnet_tf.cli.serving import export
from iresnet_tf.cli.studies import analyze
from iresnet_tf.cli.training import presets, train


@click.group()
def main() -> None:
    """Invertible residual networks: train, evaluate, sample, certify."""


for command in (
    presets,
    train,
    evaluate,
    sample,
    reconstruct,
    interpolate,
    analyze,
    export,
    certify,
):
    main.add_command(command)
