"""What a data set is for training: a seeded stream, and fixed splits to measure on."""

import abc
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from iresnet_tf.data.augmentation import augment

SPLITS = ("train", "validation", "test")


class Source(abc.ABC):
    """A data set as training sees it.

    A subclass sets the attributes and gives `stream` and `examples`; `register` makes it known to
    presets by its name.

    Attributes:
        name: the name in a preset.
        event_shape: shape of one example.
        levels: number of levels of discrete data, ``None`` for continuous data.
        classes: number of classes, ``None`` for data without.
        columns: names of the elements of a vector, ``None`` if they have none.
    """

    name: str
    event_shape: tuple[int, ...]
    levels: int | None = None
    classes: int | None = None
    columns: tuple[str, ...] | None = None

    @abc.abstractmethod
    def stream(
        self, batch_size: int, *, seed: int, skip: int = 0, augmentation: str | None = None
    ) -> tf.data.Dataset:
        """Returns endless batches of training examples.

        Batch ``k`` depends on the seed and ``k`` alone, so a resumed run goes on exactly.

        Args:
            batch_size: number of examples in a batch.
            seed: of the order and the augmentation.
            skip: number of batches to leave out at the start.
            augmentation: see `iresnet_tf.data.augmentation`; ``None`` for none.

        Returns:
            Dataset of float32 ``[batch_size, …event]``, or with classes of pairs with int32
            ``[batch_size]``.
        """

    @abc.abstractmethod
    def examples(
        self, split: str, count: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the examples of a split, float32 ``[n, …event]``, and their classes.

        Args:
            split: ``"train"``, ``"validation"`` or ``"test"``.
            count: number of examples, the first ones; all if ``None``.

        Returns:
            The examples, and int32 ``[n]`` or ``None``.
        """

    def initial_examples(self, seed: int, count: int = 1024) -> tf.Tensor:
        """Returns ``count`` training examples for data-dependent initialisation."""
        first = next(iter(self.stream(count, seed=seed)))
        return first if self.classes is None else first[0]


def shuffled(
    x: np.ndarray,
    y: np.ndarray | None,
    batch_size: int,
    *,
    seed: int,
    skip: int = 0,
    augmentation: str | None = None,
    as_float: Callable[[np.ndarray], np.ndarray] = np.float32,
) -> tf.data.Dataset:
    """Returns endless batches of arrays, in a new permutation at every pass.

    One pass runs on into the next, so every batch is full.

    Args:
        x: array ``[n, …]``.
        y: int32 classes ``[n]``, or ``None``.
        batch_size, seed, skip, augmentation: see `Source.stream`.
        as_float: maps a batch of the array, as it is stored, to float32.

    Returns:
        Dataset of float32 ``[batch_size, …]``, or of pairs with ``[batch_size]``.
    """
    size, event_shape = len(x), as_float(x[:1]).shape[1:]

    @functools.lru_cache(maxsize=2)
    def order(number):
        return np.random.default_rng([seed, number]).permutation(size)

    def rows(index):
        positions = np.arange(index * batch_size, (index + 1) * batch_size)
        passes, offsets = np.divmod(positions, size)
        chosen = np.empty(batch_size, np.int64)
        for number in np.unique(passes):
            chosen[passes == number] = order(int(number))[offsets[passes == number]]
        classes = np.zeros(batch_size, np.int32) if y is None else y[chosen]
        return as_float(x[chosen]), classes

    def batch(index):
        images, classes = tf.numpy_function(rows, [index], [tf.float32, tf.int32])
        images = tf.ensure_shape(images, [batch_size, *event_shape])
        if augmentation is not None:
            images = augment(images, augmentation, seed, index * batch_size)
        return images if y is None else (images, tf.ensure_shape(classes, [batch_size]))

    indices = tf.data.Dataset.counter(start=skip)
    return indices.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)
