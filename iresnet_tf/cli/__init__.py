"""The ``iresnet`` command: its group, its plugins, and its errors."""

import click
import tensorflow as tf

from iresnet_tf.cli import evaluation, pictures, studies, training
from iresnet_tf.cli.plugins import import_plugin
from iresnet_tf.training.strategies import WorkerLostError

_EXPLAINED = (ValueError, FileNotFoundError, FileExistsError, ConnectionError, WorkerLostError)


class _ExplainedGroup(click.Group):
    """A group that shows errors which tell the user what to do without a traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except _EXPLAINED as error:
            raise click.ClickException(str(error)) from error
        except tf.errors.InvalidArgumentError as error:
            raise click.ClickException(error.message) from error


@click.group(
    cls=_ExplainedGroup,
    commands=[
        *(training.list_presets, training.train_preset),
        *(evaluation.evaluate, evaluation.certify, evaluation.export),
        *(pictures.sample, pictures.reconstruct, pictures.interpolate, studies.analyze),
    ],
)
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
