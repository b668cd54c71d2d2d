"""Chooses the devices and machines of a run: strategies of `tf.distribute`."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from iresnet_tf.training.rendezvous import host_and_port, meet
from iresnet_tf.training.run_folder import RunFolder, ScratchFolder
from iresnet_tf.training.termination import before_termination
from iresnet_tf.training.watchdog import watched

NAMES = ("auto", "one", "mirrored", "multi-worker")

START_TIMEOUT = 600
"""Seconds that a worker waits for the others when the run starts."""


_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
"""The errors that TensorFlow raises for a lost worker."""


class WorkerLostError(RuntimeError):
    """Raised when another worker has stopped, so that this one cannot continue."""


def get(
    name: str = "auto",
    workers: Sequence[str] | None = None,
    worker: int | None = None,
    *,
    timeout: float = START_TIMEOUT,
) -> tf.distribute.Strategy:
    """Returns the strategy of that name; for several workers it waits until all are present.

    Args:
        name: ``"one"``: a single device; ``"mirrored"``: all GPUs of this machine, or its logical
            CPUs if it has no GPU; ``"multi-worker"``: all GPUs of several machines, an equal
            number on each, or one CPU on each; ``"auto"``: mirrored if this machine has several
            GPUs, else one.
        workers: for ``"multi-worker"``, ``"host:port"`` of every worker (for IPv6
            ``"[::1]:4000"``), the chief first; by default those of ``TF_CONFIG`` in the
            environment.
        worker: index of this process among ``workers``.
        timeout: seconds to wait for the other workers.

    Raises:
        ValueError: for an unknown name, too few devices, or workers that make no cluster.
        ConnectionError: if not all workers are present in time.
    """
    if name not in NAMES:
        raise ValueError(f"A strategy is one of {NAMES}; received {name!r}.")
    if name == "multi-worker":
        return _multi_worker(_cluster(workers, worker), timeout)
    if workers is not None or worker is not None:
        raise ValueError(
            f"Workers are for the strategy multi-worker; received {workers} and index {worker} "
            f"with the strategy {name}. Use --strategy multi-worker, or leave --workers and "
            "--worker out."
        )
    devices = [] if name == "one" else tf.config.list_logical_devices("GPU")
    if name == "mirrored":
        devices = devices or tf.config.list_logical_devices("CPU")
        if len(devices) < 2:
            raise ValueError(
                "The strategy mirrored needs several devices of one kind; TensorFlow sees "
                f"{', '.join(device.name for device in devices)}. Use --strategy one or auto, or "
                "make more GPUs visible."
            )
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in devices])


class Cluster(NamedTuple):
    """The workers of each job, in the form of ``TF_CONFIG``, and the place of this process."""

    jobs: dict[str, list[str]]
    job: str
    place: int

    def addresses(self) -> list[str]:
        """Returns the addresses of all workers, the chief first."""
        return [*self.jobs.get("chief", []), *self.jobs.get("worker", [])]


def _cluster(workers, worker):
    described = os.environ.get("TF_CONFIG")
    if workers is None and worker is None:
        if not described:
            raise ValueError(
                "The strategy multi-worker needs its workers: give --workers HOST:PORT,HOST:PORT "
                "and --worker INDEX, or set TF_CONFIG; received neither."
            )
        return _from_environment(described)
    if described:
        raise ValueError(
            f"The workers are given twice, by --workers and by TF_CONFIG={described!r}. Leave one "
            "of them out."
        )
    if workers is None or worker is None or not 0 <= worker < len(workers):
        raise ValueError(
            "Give the list of all workers, --workers HOST:PORT,HOST:PORT, and --worker, an index "
            f"into it from 0; received {workers} and {worker}."
        )
    return _checked(Cluster({"worker": list(workers)}, "worker", worker), "--workers")


def _from_environment(described):
    try:
        fields = json.loads(described)
        task = fields["task"]
        cluster = Cluster(dict(fields["cluster"]), task["type"], int(task["index"]))
        known = set(cluster.jobs) <= {"chief", "worker"} and cluster.job in cluster.jobs
        if not known or not 0 <= cluster.place < len(cluster.jobs[cluster.job]):
            raise ValueError("the task is not one of the workers, or the cluster has other jobs")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"TF_CONFIG describes no cluster of workers ({type(error).__name__}: {error}). "
            'Its form is {"cluster": {"worker": ["host:port", "host:port"]}, "task": '
            f'{{"type": "worker", "index": 0}}}}; received {described!r}.'
        ) from None
    return _checked(cluster, "TF_CONFIG")


def _checked(cluster, origin):
    addresses = cluster.addresses()
    try:
        distinct = {host_and_port(address) for address in addresses}
    except (TypeError, ValueError):
        distinct = set()
    if len(distinct) < len(addresses) or len(addresses) < 2:
        raise ValueError(
            f"{origin} lists the host:port of at least two workers, for IPv6 [host]:port, each "
            f"once; received {addresses}."
        )
    return cluster


def _multi_worker(cluster, timeout):
    before = len(cluster.jobs.get("chief", [])) if cluster.job == "worker" else 0
    addresses, index = cluster.addresses(), before + cluster.place
    meet(addresses, index, timeout)
    gpus = len(tf.config.list_physical_devices("GPU"))
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster.jobs),
        task_type=cluster.job,
        task_id=cluster.place,
        num_accelerators={"GPU": gpus} if gpus else {},
        rpc_layer="grpc",
    )
    with watched(addresses, index, timeout):
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    if threading.current_thread() is threading.main_thread():
        # TensorFlow would treat the signal as a notice of preemption and continue.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return strategy


def folder(strategy: tf.distribute.Strategy, run: RunFolder) -> RunFolder:
    """Returns the run folder to the chief, and a temporary folder to every other worker.

    So all workers run the same code, including the operations that need all of them.
    """
    if strategy.extended.should_checkpoint:
        return run
    scratch = ScratchFolder()
    before_termination(scratch.remove)
    return scratch


def require_agreement(strategy: tf.distribute.Strategy, subject: str, number: int) -> None:
    """Raises `ValueError` unless all workers call this function with equal numbers."""
    if _mean(strategy, number) != number:
        raise ValueError(
            f"The workers differ in {subject}. Start the same command on all of them; to resume, "
            "give --out a folder that they share."
        )


def wait(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers have called this function; the chief does not wait for lost ones."""
    try:
        _mean(strategy, 0)
    except _LOST:
        if not strategy.extended.should_checkpoint:
            raise


def _mean(strategy, number):
    """Returns the mean of the numbers of all workers."""
    return float(strategy.reduce("MEAN", tf.identity(tf.constant(number, tf.float64)), axis=None))


@contextlib.contextmanager
def lost_workers_explained(strategy: tf.distribute.Strategy, run: RunFolder) -> Iterator[None]:
    """Replaces the error that TensorFlow raises for a lost worker by a `WorkerLostError`."""
    try:
        yield
    except _LOST as error:
        resolver = strategy.cluster_resolver
        if resolver is None:
            raise
        reason = " ".join(error.message.split("Collective ops is aborted by:")[-1].split())
        raise WorkerLostError(
            f"Another worker of this run is gone, so {resolver.task_type} {resolver.task_id} stops "
            "too. Read the messages of that worker; then start the same command with --resume on "
            f"every worker: the run continues from the newest checkpoint in {run.checkpoints}. "
            f"(TensorFlow: {reason[:500]})"
        ) from error
