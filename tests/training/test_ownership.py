"""Tests that a run folder has one owner at a time."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner
from small_runs import FIELDS, content, copied, train

from iresnet_tf import training
from iresnet_tf.cli import main
from iresnet_tf.training import ownership
from iresnet_tf.training.run_folder import RunFolder

OWN = """
import runpy, sys, time, pathlib
with runpy.run_path(sys.argv[1])["owned"](pathlib.Path(sys.argv[2])):
    print("owned", flush=True)
    time.sleep(600)
"""

# Pictures take longer than the steps of small runs, and must not change their weights.
pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def owner(finished, tmp_path):
    """Returns a run, and another process that owns it."""
    run = copied(finished, tmp_path / "run")
    command = [sys.executable, "-c", OWN, ownership.__file__, str(run.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "owned\n"
    yield run, process
    process.kill()
    process.wait()


@pytest.mark.parametrize("arguments", [[], ["--resume"], ["--resume", "--steps", 6]])
def test_the_second_process_is_told_who_owns_the_run(arguments, owner):
    run, process = owner
    before = content(run)
    result = train(run.path, *arguments)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    who = f"in use by process {process.pid} on {socket.gethostname()} since 20"
    assert who in result.output and str(run.path) in result.output
    assert content(run) == before
    with pytest.raises(training.RunInUseError):
        training.resume(run.path)


def test_a_run_that_is_owned_may_be_read(owner):
    run, _ = owner
    result = CliRunner().invoke(main, ["evaluate", str(run.path), "--examples", "20"])
    assert result.exit_code == 0, result.output


def test_the_lock_of_a_killed_process_stops_nobody(owner):
    run, process = owner
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert json.loads((run.path / ownership.LOCK).read_text())["process"] == process.pid
    result = train(run.path, "--resume")
    assert result.exit_code == 0, result.output
    # Without --resume, the run is refused as one that has ended.
    assert "exists already" in train(run.path).output


def test_a_folder_is_free_after_an_error(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(KeyError), run.owned():
        with pytest.raises(training.RunInUseError, match=f"process {os.getpid()}"), run.owned():
            pass
        raise KeyError
    with run.owned():
        pass
    run.require_free()
    run.require_new()


def test_a_run_that_another_process_has_just_begun_is_left_to_it(tmp_path, monkeypatch):
    """The other process begins while this one opens the data."""
    run = RunFolder(tmp_path / "run")
    preset = training.presets.get("toy-moons", FIELDS)

    def begin(*arguments, **options):
        file = (run.path / ownership.LOCK).open("a+")
        fcntl.flock(file, fcntl.LOCK_EX)
        opened.append(file)
        return training.open_source(preset)

    opened = []
    run.path.mkdir()
    monkeypatch.setattr(training.runs, "open_source", begin)
    with pytest.raises(training.RunInUseError, match="just started"):
        training.train(preset, run.path)
    opened[0].close()
    assert not run.config.exists()


def test_a_disk_without_locks_is_named(tmp_path, monkeypatch):
    def fail(file, kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.warns(UserWarning, match="cannot be locked .No locks available.*Start only one"):
        with ownership.owned(tmp_path):
            pass


def test_a_system_without_such_locks_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "fcntl", None)
    with pytest.warns(UserWarning, match="cannot be locked .this system has no flock"):
        with ownership.owned(tmp_path):
            ownership.require_free(tmp_path)
