"""What a preset trains on: a seeded training stream and fixed splits to measure on."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from iresnet_tf.data import densities, digits, images, tables
from iresnet_tf.data.augmentation import augment as augmented

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as training sees it.

    Attributes:
        name: as in a preset.
        event_shape: shape of one example.
        levels: number of levels of discrete data, ``None`` for continuous data.
        classes: number of classes, ``None`` for data without.
        stream: ``(batch_size, seed, skip, augmentation) → tf.data.Dataset``, endless, of
            ``x`` or, with classes, ``(x, y)``; its batch ``k`` depends only on the seed and
            ``k``, so ``skip`` resumes it exactly.
        examples: ``(split, count) → (x, y)``, float32 and int32 arrays of the first ``count``
            (all if ``None``), ``y`` ``None`` without classes.
        columns: names of the elements of a vector, where they have any.
    """

    name: str
    event_shape: tuple
    levels: int | None
    classes: int | None
    stream: Callable[..., tf.data.Dataset]
    examples: Callable[[str], tuple]
    columns: tuple | None = None

    def initial_examples(self, seed, count=1024):
        """``count`` training examples for data-dependent initialisation."""
        first = next(iter(self.stream(count, seed)))
        return first if self.classes is None else first[0]


def names():
    """Every source's name; beside them, ``tfds:NAME`` is any TFDS set of images."""
    return (*(f"toy-{name}" for name in densities.NAMES), "digits", *images.NAMES)


def get(
    name,
    data_dir=None,
    validation_examples=0,
    *,
    size=None,
    pad_to=None,
    bits=None,
    only_class=None,
    table=None,
):
    """The source of that name.

    Args:
        name: one of `names`, ``tfds:NAME``, or ``table``.
        data_dir: the TFDS directory; TFDS's own default if ``None``.
        validation_examples: the last of the training split, held out of the stream.
        size: the central square of every image is resized to ``size × size``.
        pad_to: grid that smaller images are centred on, with zeros around.
        bits: keep only that many bits of a pixel.
        only_class: keep only the examples of that class.
        table: of a table, the keyword arguments of `table_source`.

    Raises:
        ValueError: for an unknown name, or an option that the data do not allow.
        FileNotFoundError: for a TFDS set that is not prepared and cannot be downloaded.
    """
    if name.startswith("toy-") and name.removeprefix("toy-") in densities.NAMES:
        if validation_examples or size or pad_to or bits or only_class is not None:
            raise ValueError(
                f"{name} is an endless stream of points: validation_examples, size, pad_to, bits "
                "and only_class are for images."
            )
        return _toy(name)
    if name == "table":
        if size or pad_to or bits or only_class is not None:
            raise ValueError("size, pad_to, bits and only_class are for images, not for a table.")
        return table_source(**table or {}, validation_examples=validation_examples)
    classes: int | None
    load: Callable[[str], tuple]
    if name == "digits":
        if size:
            raise ValueError(f"size resizes images of TFDS sets; digits are 8×8, received {size}.")
        load = functools.partial(digits.load, data_dir=data_dir)
        shape, levels, classes = (8, 8, 1), digits.LEVELS, 10
    elif name in images.NAMES or name.startswith("tfds:"):
        image_set = images.ImageSet(name, data_dir, size)
        load, levels = image_set.load, 256
        shape, classes = image_set.shape, image_set.classes
    else:
        raise ValueError(
            f"The data set is one of {list(names())}, or tfds:NAME; received {name!r}."
        )
    pad = _padding(shape, pad_to)
    if bits is not None and levels != 256:
        raise ValueError(f"bits is for 8-bit images; {name} has {levels} levels.")
    if only_class is not None and not 0 <= only_class < (classes or 0):
        raise ValueError(f"{name} has {classes or 'no'} classes; received only_class={only_class}.")

    @functools.cache
    def stored(split):
        """As it is stored, `uint8`, perhaps mapped from disk."""
        x, y = load(split)
        kept = slice(None) if only_class is None else y == only_class
        return x[kept], None if y is None else y[kept].astype(np.int32)

    def part(split):
        if split not in SPLITS:
            raise ValueError(f"A split is one of {SPLITS}; received {split!r}.")
        x, y = stored("test" if split == "test" else "train")
        if split == "validation" and not validation_examples:
            raise ValueError("No examples are held out for validation: see validation_examples.")
        if not validation_examples < len(x):
            raise ValueError(
                f"{name} has {len(x)} examples; received validation_examples={validation_examples}."
            )
        cut = slice(None)
        if split != "test":
            last = len(x) - validation_examples
            cut = slice(last) if split == "train" else slice(last, None)
        return x[cut], None if y is None else y[cut]

    def levels_of(x):
        x = np.pad(x, [(0, 0), *pad, (0, 0)]) if pad_to else x
        return (x if bits is None else x >> (8 - bits)).astype(np.float32)

    def examples(split, count=None):
        x, y = part(split)
        return levels_of(x[:count]), None if y is None else y[:count]

    def stream(batch_size, seed, skip=0, augmentation=None):
        x, y = part("train")
        return shuffled(x, y, batch_size, seed, skip, augmentation, levels_of)

    padded = tuple(length + sum(around) for length, around in zip(shape, [*pad, (0, 0)]))
    return Source(name, padded, levels if bits is None else 2**bits, classes, stream, examples)


def _toy(name):
    density = name.removeprefix("toy-")

    def examples(split, count=None):
        if split != "test":
            raise ValueError(f"{name} is an endless stream with a fixed test set; got {split!r}.")
        return densities.test_set(density)[:count], None

    def stream(batch_size, seed, skip=0, augmentation=None):
        if augmentation is not None:
            raise ValueError(f"{name} has no images to augment; received {augmentation!r}.")
        return densities.stream(density, batch_size, seed, skip)

    return Source(name, (2,), None, None, stream, examples)


def table_source(file=None, sha256=None, test_fraction=0.2, split_seed=0, *, validation_examples=0):
    """The rows of a table, ``[columns]`` each, in an order drawn once.

    Args:
        file: a CSV or ``.npy`` file, see `iresnet_tf.data.tables.load`.
        sha256: what the file's digest has to be; whatever it is if ``None``.
        test_fraction: of the rows, held out for the test, the first in that order.
        split_seed: of the order.
        validation_examples: the last rows in that order, held out of the stream.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: without a file, for one that has changed or is no table of numbers, or a
            split that leaves a part empty.
    """
    if file is None:
        raise ValueError("A table is needed: iresnet train tabular --csv FILE.")
    table = tables.load(file)
    if sha256 is not None and tables.digest(file) != sha256:
        raise ValueError(
            f"{file} has changed since the run began: its SHA-256 is not {sha256}. Restore it, "
            "or train a new run on it."
        )
    rows = len(table.values)
    order = np.random.default_rng(split_seed).permutation(rows)
    test = round(test_fraction * rows)
    last = rows - validation_examples
    if not 0 < test < last:
        raise ValueError(
            f"{file} has {rows} rows, too few for a test fraction of {test_fraction} and "
            f"{validation_examples} validation examples beside rows to train on."
        )
    parts = {"test": order[:test], "train": order[test:last], "validation": order[last:]}
    # A column may be constant in a part: indicators of something rare are.
    for name, values in zip(table.columns, table.values[parts["train"]].T):
        if values.std() == 0.0:
            raise ValueError(
                f"{file}: column {name!r} is constant in the training rows, {values[0]:g}. Leave "
                "it out, or draw another split: data.table.split_seed."
            )

    def examples(split, count=None):
        if split not in SPLITS:
            raise ValueError(f"A split is one of {SPLITS}; received {split!r}.")
        if not len(parts[split]):
            raise ValueError(
                "No examples are held out for validation: see data.validation_examples."
            )
        return table.values[parts[split][:count]], None

    def stream(batch_size, seed, skip=0, augmentation=None):
        if augmentation is not None:
            raise ValueError(f"A table has no images to augment; received {augmentation!r}.")
        return shuffled(table.values[parts["train"]], None, batch_size, seed, skip)

    return Source(
        "table", (len(table.columns),), None, None, stream, examples, columns=table.columns
    )


def _padding(shape, size):
    """What is put around height and width."""
    if size is None:
        return [(0, 0), (0, 0)]
    if size < max(shape[:2]):
        raise ValueError(f"pad_to is at least the size of the images, {shape[:2]}; got {size}.")
    return [((size - n) // 2, size - n - (size - n) // 2) for n in shape[:2]]


def shuffled(x, y, batch_size, seed, skip=0, augmentation=None, levels_of=np.float32):
    """Endless batches of arrays, every pass a new permutation; batch ``k`` from any start.

    Passes run on into each other, so every batch is full.

    Args:
        x: array ``[n, …]``.
        y: int32 classes ``[n]``, or ``None``.
        batch_size: examples a batch.
        seed: of the permutations and the augmentation.
        skip: batches left out at the start.
        augmentation: see `iresnet_tf.data.augmentation`.
        levels_of: what is done to a batch of the array, as it is stored, first of all.

    Returns:
        `tf.data.Dataset` of float32 ``[batch_size, …]``, or pairs with ``[batch_size]``.
    """
    size, event_shape = len(x), levels_of(x[:1]).shape[1:]

    @functools.lru_cache(maxsize=2)
    def order(one):
        return np.random.default_rng([seed, one]).permutation(size)

    def rows(index):
        positions = np.arange(index * batch_size, (index + 1) * batch_size)
        passes, offsets = np.divmod(positions, size)
        chosen = np.empty(batch_size, np.int64)
        for one in np.unique(passes):
            chosen[passes == one] = order(int(one))[offsets[passes == one]]
        classes = np.zeros(batch_size, np.int32) if y is None else y[chosen]
        return levels_of(x[chosen]), classes

    def batch(index):
        images, classes = tf.numpy_function(rows, [index], [tf.float32, tf.int32])
        images = tf.ensure_shape(images, [batch_size, *event_shape])
        if augmentation is not None:
            images = augmented(images, augmentation, seed, index * batch_size)
        return images if y is None else (images, tf.ensure_shape(classes, [batch_size]))

    indices = tf.data.Dataset.counter(start=skip)
    return indices.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)
