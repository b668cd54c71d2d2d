"""Fixtures of the tests of run folders."""

import pytest
from small_runs import CONSTANT, FIELDS, leaving_out_pictures, train

from iresnet_tf.training.run_folder import RunFolder


@pytest.fixture
def without_pictures():
    with leaving_out_pictures():
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Returns a run of four steps, with its pictures; tests copy it."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "finished")
    assert train(run.path, *FIELDS, CONSTANT, "--steps", 4).exit_code == 0
    return run
