"""Workers of a cluster wait for each other, before TensorFlow does: it would wait for an hour."""

import contextlib
import re
import socket
import time

GREETING = b"iresnet %08d"

ADDRESS = re.compile(r"(\[[^][]+\]|[^][:]+):([0-9]+)")


def host_and_port(address):
    """``"host:port"`` in two; an IPv6 host stands in brackets, as in ``"[::1]:4000"``.

    Raises:
        ValueError: for anything else.
    """
    found = ADDRESS.fullmatch(address)
    if not found or int(found[2]) > 65535:
        raise ValueError(f"An address is host:port, of IPv6 [host]:port; received {address!r}.")
    return found[1].strip("[]"), int(found[2])


def meet(addresses, index, timeout):
    """Returns when every worker has reached every other.

    Args:
        addresses: of every worker, as `host_and_port` takes them.
        index: which of them this process is; it listens at its own port meanwhile.
        timeout: seconds to wait.

    Raises:
        ValueError: if the own port cannot be listened at.
        ConnectionError: naming the workers that were not reached, or did not call, in time.
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
            "it another port, or end what uses this one."
        ) from None
    unreached = set(range(len(addresses))) - {index}
    unheard = set(unreached)
    deadline = time.monotonic() + timeout
    server.settimeout(0.2)
    with server:
        while unreached or unheard:
            unreached -= {each for each in unreached if _call(addresses[each], index)}
            unheard.discard(_listen(server))
            if time.monotonic() > deadline:
                raise ConnectionError(_missed(addresses, index, timeout, unreached, unheard))


def _call(address, index):
    """Whether the worker at the address took this worker's greeting."""
    try:
        with socket.create_connection(host_and_port(address), timeout=1.0) as connection:
            connection.sendall(GREETING % index)
        return True
    except OSError:
        return False


def _listen(server):
    """The worker that calls now, if one does."""
    with contextlib.suppress(OSError, ValueError):
        connection, _ = server.accept()
        with connection:
            connection.settimeout(1.0)
            word, number = connection.recv(len(GREETING % 0), socket.MSG_WAITALL).split()
            return int(number) if word == GREETING.split()[0] else None
    return None


def _missed(addresses, index, timeout, unreached, unheard):
    faults = [f"worker {each} ({addresses[each]}) cannot be reached" for each in sorted(unreached)]
    faults += [
        f"worker {each} ({addresses[each]}) has not called" for each in sorted(unheard - unreached)
    ]
    return (
        f"Worker {index} ({addresses[index]}) has waited {timeout:g} s for the others: "
        f"{', '.join(faults)}. Start the same command on every worker, each with its own index, "
        "and see that the addresses are right and their ports open."
    )
