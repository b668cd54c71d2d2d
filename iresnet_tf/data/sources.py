"""What a preset trains on: a seeded training stream and a fixed test set."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from iresnet_tf.data import densities, digits


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as training sees it.

    Attributes:
        name: as in a preset.
        event_shape: shape of one example.
        levels: number of levels of discrete data, ``None`` for continuous data.
        stream: ``(batch_size, seed, skip) → tf.data.Dataset``, endless; its batch
            ``k`` depends only on the seed and ``k``, so ``skip`` resumes it exactly.
        examples: ``split → ndarray``, float32; ``"test"`` is fixed, ``"train"`` is there
            where the training data are finite.
    """

    name: str
    event_shape: tuple
    levels: int | None
    stream: Callable[[int, int, int], tf.data.Dataset]
    examples: Callable[[str], np.ndarray]

    def initial_examples(self, seed, count=1024):
        """``count`` training examples for data-dependent initialisation."""
        return next(iter(self.stream(count, seed, 0)))


def names():
    """Every source's name."""
    return (*(f"toy-{name}" for name in densities.NAMES), "digits")


def get(name, data_dir=None):
    """The source of that name.

    Args:
        name: one of `names`.
        data_dir: the TFDS directory; TFDS's own default if ``None``.

    Raises:
        ValueError: for an unknown name.
    """
    if name == "digits":
        return _digits(data_dir)
    density = name.removeprefix("toy-")
    if name == density or density not in densities.NAMES:
        raise ValueError(f"The data set is one of {list(names())}; received {name!r}.")

    def examples(split):
        if split != "test":
            raise ValueError(f"{name} is an endless stream with a fixed test set; got {split!r}.")
        return densities.test_set(density)

    return Source(
        name=name,
        event_shape=(2,),
        levels=None,
        stream=lambda batch_size, seed, skip: densities.stream(density, batch_size, seed, skip),
        examples=examples,
    )


def _digits(data_dir):
    def examples(split):
        return digits.load(split, data_dir)[0].astype(np.float32)

    train = examples("train")
    return Source(
        name="digits",
        event_shape=train.shape[1:],
        levels=digits.LEVELS,
        stream=lambda batch_size, seed, skip: shuffled(train, batch_size, seed, skip),
        examples=examples,
    )


def shuffled(examples, batch_size, seed, skip=0):
    """Endless batches of an array, every pass a new permutation; batch ``k`` from any start.

    Passes run on into each other, so every batch is full.

    Args:
        examples: array ``[n, …]``.
        batch_size: examples a batch.
        seed: of the permutations.
        skip: batches left out at the start.

    Returns:
        `tf.data.Dataset` of ``[batch_size, …]``.
    """
    size = len(examples)

    def batch(index):
        positions = np.arange(index * batch_size, (index + 1) * batch_size)
        passes, offsets = np.divmod(positions, size)
        rows = np.empty(batch_size, np.int64)
        for one in np.unique(passes):
            order = np.random.default_rng([seed, int(one)]).permutation(size)
            rows[passes == one] = order[offsets[passes == one]]
        return rows

    constant = tf.constant(examples)

    def gather(index):
        rows = tf.numpy_function(batch, [index], tf.int64)
        rows = tf.ensure_shape(rows, [batch_size])
        return tf.gather(constant, rows)

    indices = tf.data.Dataset.counter(start=skip)
    return indices.map(gather, num_parallel_calls=1, deterministic=True).prefetch(tf.data.AUTOTUNE)
