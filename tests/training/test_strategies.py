"""Compares several devices and workers with one device, each in a new process."""

import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.cli import main
from iresnet_tf.training import presets, rendezvous, strategies
from iresnet_tf.training.run_folder import RunFolder

PROGRAM = pathlib.Path(__file__).with_name("strategies_program.py")
ENVIRONMENT = {
    "PYTHONPATH": str(pathlib.Path(irn.__file__).parents[1]),
    "CUDA_VISIBLE_DEVICES": "-1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT, **environment},
    )


def succeed(*processes):
    """Waits for the processes, asserts that they succeed, and returns their outputs."""
    ended = [(*process.communicate(timeout=900), process.returncode) for process in processes]
    for _, errors, status in ended:
        assert status == 0, errors[-4000:]
    return [printed for printed, _, _ in ended]


def free_ports(family=socket.AF_INET, host="127.0.0.1"):
    """Returns two free ports."""
    with (
        socket.create_server((host, 0), family=family) as one,
        socket.create_server((host, 0), family=family) as other,
    ):
        return [each.getsockname()[1] for each in (one, other)]


def two_addresses():
    return [f"127.0.0.1:{port}" for port in free_ports()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns the results of `strategies_program` by strategy."""
    out = tmp_path_factory.mktemp("trained")
    workers = ",".join(two_addresses())
    runs = {
        "one": ["one"],
        "mirrored": ["mirrored"],
        "worker 0": [workers, 0],
        "worker 1": [workers, 1],
    }
    succeed(*(start(PROGRAM, *chosen, out / name) for name, chosen in runs.items()))
    return {name: dict(np.load(out / f"{name}.npz")) for name in runs}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["density", "accumulated density", "classifier", "hybrid"])
@pytest.mark.parametrize("strategy", ["mirrored", "worker 0", "worker 1"])
def test_replicas_train_as_one_device_does(strategy, kind, trained):
    """The program takes 20 clipped steps and one step of Adamax, and evaluates."""
    kept = {name for name in trained["one"] if name.startswith(kind)}
    assert any("weight" in name for name in kept) and any("figure" in name for name in kept)
    for name in kept:
        expected, found = trained["one"][name], trained[strategy][name]
        # The gradient of a bias before a batch norm consists of rounding errors.
        size = max(np.max(np.abs(expected)), 1e-3)
        assert np.max(np.abs(found.astype(float) - expected)) < 1e-8 * size, name


@pytest.mark.slow
def test_both_workers_have_the_same_weights_to_the_bit(trained):
    for name, value in trained["worker 0"].items():
        np.testing.assert_array_equal(value, trained["worker 1"][name], err_msg=name)


RUN = [
    *("model.blocks=1,1", "model.width=4", "model.squeeze=true", "model.dense_blocks=0"),
    "intra_op_threads=none",
    *("data.validation_examples=9", "batch_size=31", "steps_per_epoch=3", "optimizer.ema=0.9"),
    *("optimizer.clip_norm=1.0", "evaluation_examples=40"),
]


def start_workers(out, data_dir, scratch, *arguments):
    """Starts two workers that train the digits; the second one's temporary files go to scratch."""
    scratch.mkdir()
    addresses = two_addresses()
    command = ["-m", "iresnet_tf", "train", "digits-density", "--out", out, *arguments]
    command += ["--data-dir", data_dir, "--strategy", "multi-worker"]
    jobs = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 1}}
    return (
        start(*command, "--workers", ",".join(addresses), "--worker", 0),
        start(*command, TF_CONFIG=json.dumps(jobs), TMPDIR=str(scratch)),
    )


@pytest.mark.slow
def test_a_run_loses_nothing_when_a_worker_is_killed(tmp_path):
    run, data_dir = RunFolder(tmp_path / "run"), tmp_path / "tfds"
    chief, other = start_workers(run.path, data_dir, tmp_path / "first", *RUN, "--steps", "12")
    while chief.poll() is None and len(run.read_history()) < 3:
        time.sleep(0.01)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    # TensorFlow assumes that a worker has stopped after ten seconds without a message.
    _, errors = chief.communicate(timeout=120)
    assert chief.returncode == 1
    assert "Another worker of this run is gone" in errors and "--resume" in errors
    before = run.read_history()
    assert [line["epoch"] for line in before] == [1, 2, 3]
    # The third epoch is trained again, from the checkpoint of the second.
    third = run.checkpoint(9).rename(tmp_path / "third.keras")
    scratch = tmp_path / "second"
    printed, nothing = succeed(*start_workers(run.path, data_dir, scratch, "--resume"))
    after = run.read_history()
    assert after[:3] == before and [line["epoch"] for line in after] == [1, 2, 3, 4]
    for one, other in zip(irn.load(third).weights, irn.load(run.checkpoint(9)).weights):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    # Only the chief writes, evaluates and prints.
    assert json.loads(printed) == json.loads(run.result.read_text())
    assert nothing == ""
    assert len(list(run.tensorboard.iterdir())) == 2
    assert not list(scratch.glob("iresnet_tf-*"))


@pytest.mark.slow
def test_the_chief_of_a_finished_training_needs_no_other_worker(tmp_path):
    run = RunFolder(tmp_path / "run")
    chief, other = start_workers(
        run.path, tmp_path / "tfds", tmp_path / "scratch", *RUN, "--steps", "3"
    )
    while chief.poll() is None and not run.model.exists():
        time.sleep(0.01)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    printed, errors = chief.communicate(timeout=300)
    assert chief.returncode == 0, errors[-3000:]
    assert json.loads(printed) == json.loads(run.result.read_text())


def test_one_device_is_the_default_where_there_are_no_gpus():
    assert strategies.get() is tf.distribute.get_strategy()
    assert strategies.get("auto").num_replicas_in_sync == 1


@pytest.mark.parametrize(
    "given, described, message",
    [
        (("one", ["a:1", "b:1"], 0), None, "--strategy multi-worker"),
        (("auto", None, 1), None, "--strategy multi-worker"),
        (("mirrored",), None, "needs several devices"),
        (("several",), None, "one of"),
        (("multi-worker",), None, "set TF_CONFIG"),
        (("multi-worker", ["a:1", "b:1"]), None, "an index into it"),
        (("multi-worker", None, 0), None, "an index into it"),
        (("multi-worker", ["a:1", "b:1"], 2), None, "an index into it"),
        (("multi-worker", ["a:1"], 0), None, "at least two workers"),
        (("multi-worker", ["a:1", "a:1"], 0), None, "each once"),
        (("multi-worker", ["a:1", "b"], 0), None, "host:port"),
        (("multi-worker", ["::1:1", "::1:2"], 0), None, r"\[host\]:port"),
        (("multi-worker", ["a:1", "b:65536"], 0), None, "host:port"),
        (("multi-worker", ["a:1", "b:1"], 0), "{}", "given twice"),
        (("multi-worker",), "worker 1 of 2", "describes no cluster"),
        (("multi-worker",), '{"cluster": {"worker": ["a:1", "b:1"]}}', "KeyError: 'task'"),
        (
            ("multi-worker",),
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            "the task is not one of the workers",
        ),
        (
            ("multi-worker",),
            '{"cluster": {"ps": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
            "other jobs",
        ),
    ],
)
def test_what_makes_no_strategy(given, described, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if described is not None:
        monkeypatch.setenv("TF_CONFIG", described)
    with pytest.raises(ValueError, match=message):
        strategies.get(*given)


def test_the_command_says_what_it_received(tmp_path):
    command = ["train", "toy-moons", "--out", str(tmp_path / "run"), "--workers", "a:1,b:1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "received ['a:1', 'b:1']" in result.output and "--strategy multi-worker" in result.output
    assert not (tmp_path / "run").exists()


def test_a_worker_that_cannot_be_reached_is_named():
    addresses = two_addresses()
    with pytest.raises(ConnectionError, match=f"{addresses[0]}.*cannot be reached"):
        rendezvous.meet(addresses, 1, timeout=0.5)


@pytest.mark.parametrize("family, host", [("AF_INET", "127.0.0.1"), ("AF_INET6", "[::1]")])
def test_workers_meet_by_ipv4_and_by_ipv6(family, host):
    try:
        ports = free_ports(getattr(socket, family), host.strip("[]"))
    except OSError:
        pytest.skip(f"no {host} here")
    addresses = [f"{host}:{port}" for port in ports]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = [pool.submit(rendezvous.meet, addresses, index, 10.0) for index in (0, 1)]
        assert [each.result() for each in waiting] == [None, None]


STARTED = """
import sys
from iresnet_tf.training import strategies

strategies.get("multi-worker", sys.argv[1:], 0, timeout=5.0)
"""


def test_a_worker_that_is_lost_while_tensorflow_starts_is_named():
    addresses = two_addresses()
    chief = start("-c", STARTED, *addresses)
    rendezvous.meet(addresses, 1, timeout=100.0)  # the partner meets the chief, and then is gone
    _, errors = chief.communicate(timeout=100)
    assert chief.returncode != 0
    assert f"lost since they met: worker 1 ({addresses[1]})" in errors


def test_a_port_in_use_is_refused():
    with socket.create_server(("", 0)) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        with pytest.raises(ValueError, match="cannot listen"):
            rendezvous.meet([address, "localhost:1"], 0, timeout=0.5)


def test_a_batch_smaller_than_the_replicas_is_refused(tmp_path):
    class Eight:
        num_replicas_in_sync = 8
        extended = tf.distribute.get_strategy().extended

    preset = presets.get("toy-moons", ["batch_size=7"])
    with pytest.raises(ValueError, match="8 replicas"):
        training.train(preset, tmp_path / "run", strategy=Eight())
    assert not (tmp_path / "run").exists()
