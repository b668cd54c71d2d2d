"""Trains a small run by the command, in this process, and cuts copies of it off."""

import contextlib
import shutil
from unittest import mock

from click.testing import CliRunner

from iresnet_tf.cli import main
from iresnet_tf.training import callbacks
from iresnet_tf.training.run_folder import RunFolder

NAME = "toy-moons"
FIELDS = [
    *("model.blocks=1", "model.width=4", "model.depth=1", "intra_op_threads=none"),
    *("batch_size=16", "steps_per_epoch=2", "evaluation_examples=50"),
]
CONSTANT = "optimizer.schedule=constant"


def train(out, *arguments):
    return CliRunner().invoke(main, ["train", NAME, "--out", str(out), *map(str, arguments)])


@contextlib.contextmanager
def leaving_out_pictures():
    """Leaves out the pictures of runs, which take longer than the steps of small ones."""
    with mock.patch.object(callbacks.Pictures, "draw"):
        yield


def copied(run, path):
    """Returns a copy of a run."""
    return RunFolder(shutil.copytree(run.path, path))


def cut_off(run, path, epochs=1):
    """Returns a copy of a run as it was after some epochs."""
    cut = copied(run, path)
    for file in (cut.model, cut.result):
        file.unlink()
    for checkpoint in cut.latest_checkpoints()[:-epochs]:
        checkpoint.unlink()
    return cut


def content(run):
    """Returns the bytes of every file of a run, without its lock."""
    files = (path for path in run.path.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.read_bytes() for path in files}
