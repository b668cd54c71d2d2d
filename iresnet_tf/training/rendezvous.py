"""The workers of a cluster wait for each other before TensorFlow does, which waits an hour."""

import contextlib
import re
import socket
import time
from collections.abc import Sequence

GREETING = b"iresnet %08d"

ADDRESS = re.compile(r"(\[[^][]+\]|[^][:]+):([0-9]+)")


def host_and_port(address: str) -> tuple[str, int]:
    """Splits ``"host:port"``; an IPv6 host is in brackets, for example ``"[::1]:4000"``.

    Raises:
        ValueError: for anything else.
    """
    match = ADDRESS.fullmatch(address)
    if not match or int(match[2]) > 65535:
        raise ValueError(f"An address is host:port, for IPv6 [host]:port; received {address!r}.")
    return match[1].strip("[]"), int(match[2])


def meet(addresses: Sequence[str], index: int, timeout: float) -> None:
    """Waits until every worker has reached every other.

    Args:
        addresses: the address of every worker, in the form of `host_and_port`.
        index: index of this process among them; it listens at its own port meanwhile.
        timeout: seconds to wait.

    Raises:
        ValueError: if this process cannot listen at its own port.
        ConnectionError: if workers were not reached, or did not call, in time; it names them.
    """
    _, port = host_and_port(addresses[index])
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = socket.create_server(
            ("", port), family=family, backlog=len(addresses), dualstack_ipv6=both
        )
    except OSError as error:
        raise ValueError(
            f"Worker {index} cannot listen at its port, {addresses[index]}: {error.strerror}. Give "
            "it another port, or end the process that uses this one."
        ) from None
    unreached = set(range(len(addresses))) - {index}
    unheard = set(unreached)
    deadline = time.monotonic() + timeout
    server.settimeout(0.2)
    with server:
        while unreached or unheard:
            unreached -= {worker for worker in unreached if _call(addresses[worker], index)}
            unheard.discard(_listen(server))
            if time.monotonic() > deadline:
                raise ConnectionError(_missed(addresses, index, timeout, unreached, unheard))


def _call(address, index):
    """Greets the worker at the address; returns whether it accepted the greeting."""
    try:
        with socket.create_connection(host_and_port(address), timeout=1.0) as connection:
            connection.sendall(GREETING % index)
        return True
    except OSError:
        return False


def _listen(server):
    """Returns the index of the worker that calls now, if one does."""
    with contextlib.suppress(OSError, ValueError):
        connection, _ = server.accept()
        with connection:
            connection.settimeout(1.0)
            word, number = connection.recv(len(GREETING % 0), socket.MSG_WAITALL).split()
            return int(number) if word == GREETING.split()[0] else None
    return None


def _missed(addresses, index, timeout, unreached, unheard):
    faults = [
        f"worker {other} ({addresses[other]}) cannot be reached" for other in sorted(unreached)
    ]
    faults += [
        f"worker {other} ({addresses[other]}) has not called"
        for other in sorted(unheard - unreached)
    ]
    return (
        f"Worker {index} ({addresses[index]}) has waited {timeout:g} s for the others: "
        f"{', '.join(faults)}. Start the same command on every worker, each with its own index, "
        "and check that the addresses are right and their ports are open."
    )
