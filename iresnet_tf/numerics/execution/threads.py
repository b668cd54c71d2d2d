"""The samples of a batch shared out among threads: parts of it that run beside each other.

Threads inside an operation wait for each other at the end of every one, which costs small
operations more than it saves.  Parts of a batch wait once, when all is done.
"""

import contextlib
import os
from typing import NamedTuple

import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.maps.leading_axes import rows_or_one

MAX_PARTS = 8
"""Parts of a batch at most: a graph has each of them written out."""

_undivided = False


class Whole:
    """All of a batch in one part."""

    def of_seed(self, seed):
        """The seed of the part, where ``seed`` is that of the batch."""
        return seed

    def of_rows(self, rows):
        """The part's rows of ``[batch, …]``, or of ``[1, …]`` for all samples alike."""
        return rows


class Part(NamedTuple):
    """The examples of a batch of ``total`` from ``first`` up to ``last``, exclusive.

    A batch too small for its parts is longer than it was: see `map_parts`.
    """

    first: tf.Tensor
    last: tf.Tensor
    total: tf.Tensor

    def of_seed(self, seed):
        return random.within(seed, self.first, self.total)

    def of_rows(self, rows):
        return rows_or_one(rows, tf.range(self.first, self.last))


def number_of_parts():
    """TensorFlow's inter-op threads, where an operation runs on one thread; else 1.

    ``tf.config.threading.set_intra_op_parallelism_threads(1)`` asks for that.  With a GPU, or
    with several replicas in this process, there is one part all the same.
    """
    threading = tf.config.threading
    if (
        _undivided
        or threading.get_intra_op_parallelism_threads() != 1
        or tf.config.get_visible_devices("GPU")
        or _has_several_replicas()
    ):
        return 1
    return min(threading.get_inter_op_parallelism_threads() or cores(), MAX_PARTS)


@contextlib.contextmanager
def undivided():
    """Batches stay whole, as in a graph that other machines are to run."""
    global _undivided
    before, _undivided = _undivided, True
    try:
        yield
    finally:
        _undivided = before


def map_parts(function, x, count):
    """What ``function(rows, part)`` gives of the parts of ``x [batch, …]``, put together.

    Args:
        function: of a part's rows, and the `Part` or the `Whole` that they are; gives tensors
            ``[rows, …]`` in any nest.
        x: the batch, not empty.
        count: the number of parts.
    """
    if count == 1:
        return function(x, Whole())
    examples = tf.shape(x)[0]
    # Zeros for what a small batch lacks: TensorFlow's convolutions take no empty part.
    total = tf.maximum(examples, count)
    x = tf.pad(x, [[0, total - examples]] + [[0, 0]] * (x.shape.rank - 1))
    bounds = [total * index // count for index in range(count + 1)]
    parts = [Part(first, last, total) for first, last in zip(bounds, bounds[1:])]
    rows = tf.split(x, [part.last - part.first for part in parts])
    results = [function(*each) for each in zip(rows, parts)]
    return tf.nest.map_structure(lambda *each: tf.concat(each, 0)[:examples], *results)


def _has_several_replicas():
    strategy = tf.distribute.get_strategy()
    return tf.distribute.has_strategy() and len(strategy.extended.worker_devices) > 1


def cores():
    """Those that this process may use, as TensorFlow counts them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
