"""Defines the command ``iresnet``; each module has a group of its subcommands."""

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
    help="Name, or path of the .py file, of a Python module to import first, for the presets, "
    "layers, estimators and data sets that it registers; repeatable.",
)
def main(plugins: tuple[str, ...]) -> None:
    """Invertible residual networks: train, evaluate, sample, certify."""
    for plugin in plugins:
        import_plugin(plugin)


drawing = (sample, reconstruct, interpolate, analyze)
for command in (presets, train, evaluate, *drawing, export, certify):
    main.add_command(command)
