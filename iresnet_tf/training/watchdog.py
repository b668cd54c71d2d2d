"""Ends a worker that waits for lost partners while TensorFlow starts, and names these.

TensorFlow would wait an hour, and meanwhile lets no Python run in the process.  So this file also
runs as a program of its own, without the package.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def watched(hosts: Sequence[tuple[str, int]], index: int, timeout: float) -> Iterator[None]:
    """Ends this process if the ``with`` statement takes longer than ``timeout`` seconds.

    The message names the workers whose ports are closed.

    Args:
        hosts: host and port of every worker.
        index: index of this process.
        timeout: seconds.
    """
    addresses = [f"{host} {port}" for host, port in hosts]
    command = [sys.executable, __file__, str(os.getpid()), str(index), str(timeout), *addresses]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as watcher:
        # The watcher ends when its input is closed, which also happens if this process dies.
        try:
            yield
        finally:
            watcher.communicate()


def _is_open(address):
    host, port = address.split()
    try:
        with socket.create_connection((host, int(port)), timeout=5.0):
            return True
    except OSError:
        return False


def _main(process, own, timeout, *addresses):
    if select.select([sys.stdin], [], [], float(timeout))[0]:
        return
    names = {str(index): address.replace(" ", ":") for index, address in enumerate(addresses)}
    lost = [i for i, address in enumerate(addresses) if str(i) != own and not _is_open(address)]
    which = ", ".join(f"worker {i} ({names[str(i)]})" for i in lost) or "another worker"
    print(
        f"Worker {own} has waited {float(timeout):g} s for TensorFlow to start on all workers; "
        f"lost since they met: {which}. Start the same command on every worker again.",
        file=sys.stderr,
        flush=True,
    )
    os.kill(int(process), signal.SIGKILL)


if __name__ == "__main__":
    _main(*sys.argv[1:])
