"""Cleans up when the process is terminated, also while TensorFlow computes."""

import os
import signal
import socket
import threading
from collections.abc import Callable

STATUS = 128 + signal.SIGTERM
"""Exit status of a process that was terminated, as shells report it."""


def before_termination(clean_up: Callable[[], object]) -> None:
    """Calls ``clean_up`` when the process receives ``SIGTERM``, and then ends the process.

    A handler of Python alone would wait until an operation of TensorFlow returns, which may wait
    for other machines.  Only the main thread may set handlers: in others nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    received, woken = socket.socketpair()
    woken.setblocking(False)

    def end():
        while signal.SIGTERM not in received.recv(64):
            pass
        try:
            clean_up()
        finally:
            os._exit(STATUS)

    threading.Thread(target=end, daemon=True).start()
    # Whatever the process does, Python writes the number of the signal to this socket at once.
    _KEPT.append(woken)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)


_KEPT: list[socket.socket] = []
