"""Defines data sources: a seeded stream for training, and fixed splits for evaluation."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from iresnet_tf.columns import TableSchema
from iresnet_tf.data.augmentation import augment

SPLITS = ("train", "validation", "test")


class Examples(NamedTuple):
    """Examples ``x [n, …event]``, and ``y``: their classes ``[n]``, contexts, or ``None``.

    The contexts of a source with ``context_columns`` are float32 ``[n, columns]``.
    """

    x: np.ndarray
    y: np.ndarray | None


class Source:
    """The interface of a data set for training and evaluation.

    To add your own source, subclass this, call ``__init__`` with the arguments below, and write
    `stream` and `examples`; for examples in memory, `ArraySource` has both.  Pass the object to
    `iresnet_tf.training.train` as ``source``.  To use its name in presets, also write `names`
    and `open`, and register the class with `iresnet_tf.data.register`.

    Args:
        name: name of the data set.
        event_shape: shape of one example.
        levels: number of levels of discrete data, ``None`` for continuous data.
        classes: number of classes, ``None`` for data without classes.
        columns: names of the elements of a vector, if they have any.
        context_columns: names of the elements of the context of an example, for a source of pairs
            ``(x, context)`` in place of classes.

    Attributes:
        found: what was found in files, as lines of text; ``None`` for known data.
        has_validation: whether the data come with validation examples of their own.
        schema: the description of the columns, for a table of mixed columns.
    """

    found: str | None = None
    has_validation: bool = False
    schema: TableSchema | None = None

    def __init__(
        self,
        name: str,
        event_shape: tuple[int, ...],
        *,
        levels: int | None = None,
        classes: int | None = None,
        columns: tuple[str, ...] | None = None,
        context_columns: tuple[str, ...] | None = None,
    ) -> None:
        self.name, self.event_shape = name, tuple(event_shape)
        self.context_columns = context_columns
        self.levels, self.classes, self.columns = levels, classes, columns

    def stream(
        self, batch_size: int, *, seed: int, skip: int = 0, augmentation: str | None = None
    ) -> tf.data.Dataset:
        """Returns an endless data set of training batches.

        Batch ``k`` depends only on ``seed`` and ``k``, so that ``skip`` resumes a stream exactly.

        Args:
            batch_size: number of examples in a batch.
            seed: seed of the order and of the augmentation.
            skip: number of batches skipped at the start.
            augmentation: see `iresnet_tf.data.augmentation.augment`; none by default.

        Returns:
            Dataset of float32 ``[batch_size, …event]``, or of pairs with int32 classes
            ``[batch_size]`` or float32 contexts ``[batch_size, columns]``.
        """
        raise NotImplementedError

    def examples(self, split: str, count: int | None = None) -> Examples:
        """Returns the first ``count`` examples of a split (by default all), in a fixed order.

        Args:
            split: one of ``"train"``, ``"validation"`` and ``"test"``.
            count: number of examples.

        Returns:
            float32 examples, and int32 classes, float32 contexts or ``None``.

        Raises:
            ValueError: for a split that the source does not have.
        """
        raise NotImplementedError

    def measured(self, split: str, count: int | None = None) -> tuple[Any, np.ndarray | None]:
        """Returns what `iresnet_tf.analysis.evaluate` takes: by default `examples`."""
        return self.examples(split, count)

    def fitting(self, model: Any) -> "Source":
        """Returns the source with the encoding that a trained model has: by default itself."""
        del model
        return self

    def initial_examples(self, count: int = 1024, *, seed: int) -> tf.Tensor:
        """Returns ``count`` training examples for the data-dependent initialisation."""
        first = next(iter(self.stream(count, seed=seed)))
        return first if self.classes is None and self.context_columns is None else first[0]

    def initial_contexts(self, count: int = 1024, *, seed: int) -> tf.Tensor | None:
        """Returns the contexts of `initial_examples`, or ``None`` for examples without contexts."""
        if self.context_columns is None:
            return None
        return next(iter(self.stream(count, seed=seed)))[1]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Returns the names under which `iresnet_tf.data.get` finds sources of this kind."""
        return ()

    @classmethod
    def has(cls, name: str) -> bool:
        """Returns whether there is a source of this kind with that name."""
        return name in cls.names()

    @classmethod
    def open(cls, name: str, *, data_dir: str | None = None, **options: Any) -> "Source":
        """Opens the source of a name for which `has` is true.

        Args:
            name: name of the source.
            data_dir: folder of data sets.
            **options: those options of `iresnet_tf.data.get` that were passed to it.

        Raises:
            ValueError: for an option that the data do not allow.
        """
        raise NotImplementedError

    def _require_augmentable(self, augmentation: str | None) -> None:
        if augmentation is not None and len(self.event_shape) != 3:
            raise ValueError(
                f"{self.name} has no images to augment; received {augmentation!r}. Leave "
                "augmentation out."
            )


def batch_order(size: int, batch_size: int, seed: int) -> Callable[[int], np.ndarray]:
    """Returns the function from the number of a batch to the indices of its examples.

    Every pass over the ``size`` examples has a new order.  A batch may contain the end of one pass
    and the start of the next.
    """

    @functools.lru_cache(maxsize=2)
    def order(epoch):
        return np.random.default_rng([seed, epoch]).permutation(size)

    def chosen(index):
        positions = np.arange(index * batch_size, (index + 1) * batch_size)
        epochs, offsets = np.divmod(positions, size)
        found = np.empty(batch_size, np.int64)
        for epoch in np.unique(epochs):
            found[epochs == epoch] = order(int(epoch))[offsets[epochs == epoch]]
        return found

    return chosen


class StoredSource(Source):
    """The base class of sources whose examples are stored in arrays.

    Every pass over the training examples has a new order.  A batch may contain the end of one pass
    and the start of the next, so every batch is full.  A subclass writes `stored`, and also
    `decoded` if the stored examples differ from those that the model receives.
    """

    def stored(self, split: str) -> Examples:
        """Returns the stored arrays of a split, of any dtype, possibly mapped from disk.

        Raises:
            ValueError: for a split that the source does not have.
        """
        raise NotImplementedError

    def decoded(self, x: Any, seed: Sequence[int]) -> np.ndarray:
        """Converts stored examples to the float32 examples that the model receives.

        The seed is for sources that add noise.
        """
        return np.asarray(x, np.float32)

    def stream(
        self, batch_size: int, *, seed: int, skip: int = 0, augmentation: str | None = None
    ) -> tf.data.Dataset:
        self._require_augmentable(augmentation)
        x, y = self.stored("train")
        beside, order = self._beside(), batch_order(len(x), batch_size, seed)

        def rows(index):
            chosen = order(index)
            others = np.zeros(batch_size) if y is None else y[chosen]
            return self.decoded(x[chosen], [seed, index]), others.astype(beside)

        def batch(index):
            examples, others = tf.numpy_function(rows, [index], [tf.float32, beside])
            examples = tf.ensure_shape(examples, [batch_size, *self.event_shape])
            if augmentation is not None:
                examples = augment(examples, augmentation, seed=seed, first=index * batch_size)
            if y is None:
                return examples
            return examples, tf.ensure_shape(others, [batch_size, *y.shape[1:]])

        indices = tf.data.Dataset.counter(start=skip)
        return indices.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)

    def examples(self, split: str, count: int | None = None) -> Examples:
        if split not in SPLITS:
            raise ValueError(f"A split is one of {SPLITS}; received {split!r}.")
        x, y = self.stored(split)
        y = None if y is None else y[:count].astype(self._beside())
        return Examples(self.decoded(x[:count], [SPLITS.index(split), 0]), y)

    def _beside(self) -> type:
        """Returns the dtype of what accompanies an example: a class or a context."""
        return np.int32 if self.context_columns is None else np.float32


class ArraySource(StoredSource):
    """A source of arrays in memory.

    Args:
        name: name of the data set.
        parts: pairs ``(x, y)`` for ``"train"``, ``"test"`` and optionally ``"validation"``:
            examples ``[n, …event]``, and integer classes ``[n]``, contexts ``[n, columns]`` or
            ``None``.
        **facts: ``levels``, ``classes``, ``columns`` and ``context_columns`` of `Source`.

    Example::

        source = irn.data.ArraySource("mine", {"train": (x, None), "test": (held_out, None)})
        irn.training.train(preset, "runs/mine", source=source)
    """

    def __init__(
        self, name: str, parts: Mapping[str, tuple[np.ndarray, np.ndarray | None]], **facts: Any
    ) -> None:
        super().__init__(name, np.shape(parts["train"][0])[1:], **facts)
        self._parts = {split: Examples(*part) for split, part in parts.items()}

    def stored(self, split: str) -> Examples:
        if split not in self._parts or not len(self._parts[split].x):
            raise ValueError(
                f"No examples of {self.name} are held out for {split}: see "
                "data.validation_examples."
            )
        return self._parts[split]
