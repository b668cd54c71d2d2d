"""Division of a batch into parts that run on several threads at once.

Threads inside one operation wait for each other at its end, which costs small operations more
than it saves.  Threads that take parts of a batch wait for each other only once.
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.axes import rows_or_one

MAX_PARTS = 8
"""Largest number of parts of a batch: a graph holds a copy of the function for each."""

_undivided = contextvars.ContextVar("undivided", default=False)


class Whole:
    """The part that is the whole batch."""

    def of_seed(self, seed: tf.Tensor) -> tf.Tensor:
        """Returns the seed of the part, given that of the batch."""
        return seed

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the part's rows of ``[batch, …]``, or of ``[1, …]`` for all samples alike."""
        return rows


class Part(NamedTuple):
    """The examples ``first`` (inclusive) to ``last`` (exclusive) of a batch of ``total``.

    ``total`` includes the zeros by which `map_parts` fills up a batch smaller than its parts.
    """

    first: tf.Tensor
    last: tf.Tensor
    total: tf.Tensor

    def of_seed(self, seed: tf.Tensor) -> tf.Tensor:
        return random.within(seed, self.first, self.total)

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        return rows_or_one(rows, tf.range(self.first, self.last))


def number_of_parts() -> int:
    """Returns the number of inter-op threads if each operation runs on one thread, else 1.

    ``tf.config.threading.set_intra_op_parallelism_threads(1)`` asks for that.  With a GPU, or
    with several replicas in this process, the number is always 1.
    """
    threading, strategy = tf.config.threading, tf.distribute.get_strategy()
    if (
        _undivided.get()
        or threading.get_intra_op_parallelism_threads() != 1
        or tf.config.get_visible_devices("GPU")
        or (tf.distribute.has_strategy() and len(strategy.extended.worker_devices) > 1)
    ):
        return 1
    return min(threading.get_inter_op_parallelism_threads() or cores(), MAX_PARTS)


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """Keeps batches whole in its context, for example in a graph that other machines will run."""
    token = _undivided.set(True)
    try:
        yield
    finally:
        _undivided.reset(token)


def map_parts(function: Callable, batch: tuple[tf.Tensor, ...], count: int) -> Any:
    """Applies ``function(rows, part)`` to the parts of a batch and concatenates the results.

    Args:
        function: takes the tuple of a part's rows, and the `Part` or `Whole`; returns tensors
            ``[rows, …]`` in any nest.
        batch: tensors ``[batch, …]``, at least one.
        count: number of parts.
    """
    if count == 1:
        return function(batch, Whole())
    examples = tf.shape(batch[0])[0]
    # TensorFlow's convolutions refuse an empty part: a small batch is filled up with zeros.
    total = tf.maximum(examples, count)
    bounds = [total * index // count for index in range(count + 1)]
    parts = [Part(first, last, total) for first, last in zip(bounds, bounds[1:])]
    sizes = [part.last - part.first for part in parts]

    def split(tensor):
        padding = [[0, total - examples]] + [[0, 0]] * (tensor.shape.rank - 1)
        return tf.split(tf.pad(tensor, padding), sizes)

    rows = zip(*map(split, batch))
    results = map(function, rows, parts)
    return tf.nest.map_structure(lambda *tensors: tf.concat(tensors, 0)[:examples], *results)


def cores() -> int:
    """Returns the number of cores that this process may use, as TensorFlow counts them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
