"""Runs the command in this process."""

from click.testing import CliRunner

from iresnet_tf.cli import main


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
