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
def watched(addresses: Sequence[str], index: int, timeout: float) -> Iterator[None]:
    """Ends this process if the ``with`` statement takes longer than ``timeout`` seconds.

    The message names the workers whose ports are closed.

    Args:
        addresses: ``"host:port"`` of every worker, for IPv6 ``"[host]:port"``.
        index: index of this process.
        timeout: seconds.
    """
    command = [sys.executable, __file__, str(os.getpid()), str(index), str(timeout), *addresses]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as watcher:
        # The watcher ends when its input is closed, which also happens if this process dies.
        try:
            yield
        finally:
            watcher.communicate()


def _is_open(address):
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5.0):
            return True
    except OSError:
        return False


def _main(process, own, timeout, *addresses):
    if select.select([sys.stdin], [], [], float(timeout))[0]:
        return
    others = ((i, address) for i, address in enumerate(addresses) if str(i) != own)
    lost = [f"worker {i} ({address})" for i, address in others if not _is_open(address)]
    print(
        f"Worker {own} has waited {float(timeout):g} s for TensorFlow to start on all workers; "
        f"lost since they met: {', '.join(lost) or 'another worker'}. Start the same command on "
        "every worker again.",
        file=sys.stderr,
        flush=True,
    )
    os.kill(int(process), signal.SIGKILL)


if __name__ == "__main__":
    _main(*sys.argv[1:])
