"""The ``iresnet`` command: one module for each group of its subcommands."""

import click

from iresnet_tf.cli.evaluation import certify, evaluate
from iresnet_tf.cli.pictures import interpolate, reconstruct, sample
from iresnet_tf.cli.plugins import import_plugin
from iresnet_tf.cli.serving import export
from iresnet_tf.cli.studies import analyze
from iresnet_tf.cli.training import presets, train


@click.group()
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="MODULE",
    help="A Python module that is imported first, by name or as the path of a .py file, so that "
    "the presets, layers, estimators and data sets that it registers are known; repeatable.",
)
def main(plugins: tuple[str, ...]) -> None:
    """Invertible residual networks: train, evaluate, sample, certify."""
    for plugin in plugins:
        import_plugin(plugin)


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
