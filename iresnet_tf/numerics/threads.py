"""The samples of a batch shared out among threads: parts of it that run beside each other.

Threads inside an operation wait for each other at the end of every one, which costs small
operations more than it saves.  Parts of a batch wait once, when all is done.
"""

import os
from typing import NamedTuple

import tensorflow as tf

from iresnet_tf.numerics import probes

MOST = 16
"""Parts of a batch at most: a graph has each of them written out."""


class Whole:
    """All of a batch in one part."""

    def of_seed(self, seed):
        """The seed of the part, where ``seed`` is that of the batch."""
        return seed

    def of_rows(self, rows):
        """The part's rows of ``[batch, …]``; ``[1, …]``, for all samples alike, as it is."""
        return rows


class Part(NamedTuple):
    """The examples of a batch of ``total`` from ``first`` up to ``last``, exclusive."""

    first: tf.Tensor
    last: tf.Tensor
    total: tf.Tensor

    def of_seed(self, seed):
        return probes.within(seed, self.first, self.total)

    def of_rows(self, rows):
        alike = tf.shape(rows)[0] == 1
        return rows[tf.where(alike, 0, self.first) : tf.where(alike, 1, self.last)]


def number_of_parts():
    """TensorFlow's inter-op threads, where an operation runs on one thread and none on a GPU; or 1.

    ``tf.config.threading.set_intra_op_parallelism_threads(1)`` asks for that.
    """
    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() != 1 or tf.config.list_physical_devices("GPU"):
        return 1
    return min(threading.get_inter_op_parallelism_threads() or _cores(), MOST)


def shared_out(function, x):
    """What ``function(rows, part)`` gives of the parts of ``x [batch, …]``, put together.

    Args:
        function: of a part's rows, and the `Part` or the `Whole` that they are; gives tensors
            ``[rows, …]`` in any nest.
        x: the batch; parts of a small one may be empty.
    """
    count, total = number_of_parts(), tf.shape(x)[0]
    if count == 1:
        return function(x, Whole())
    bounds = [total * index // count for index in range(count + 1)]
    parts = [Part(first, last, total) for first, last in zip(bounds, bounds[1:])]
    rows = tf.split(x, [part.last - part.first for part in parts])
    results = [function(*each) for each in zip(rows, parts)]
    return tf.nest.map_structure(lambda *each: tf.concat(each, 0), *results)


def _cores():
    """Those that this process may use, as TensorFlow counts them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
