"""The threads that a run asks for."""

import pytest
import tensorflow as tf

from iresnet_tf.cli import runs
from iresnet_tf.numerics.execution import threads


@pytest.mark.parametrize(
    "asked, cores, gpus, told",
    [
        ("auto", 8, [], [1]),
        ("auto", 9, [], []),
        ("auto", 2, ["/GPU:0"], []),
        (None, 2, [], []),
        (3, 2, [], [3]),
        # What they are already.
        (7, 2, [], []),
    ],
)
def test_threads_inside_operations(monkeypatch, asked, cores, gpus, told):
    calls = []
    threading = tf.config.threading
    monkeypatch.setattr(threads, "cores", lambda: cores)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    monkeypatch.setattr(threading, "get_intra_op_parallelism_threads", lambda: 7)
    monkeypatch.setattr(threading, "set_intra_op_parallelism_threads", calls.append)
    runs.set_threads(asked)
    assert calls == told
