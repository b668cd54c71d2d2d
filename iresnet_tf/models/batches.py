"""Opens batched data: datasets of unknown shapes, generators and `keras.utils.PyDataset`s."""

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.inputs import require_unmasked

NO_EXAMPLES = (
    "The dataset has no examples. Give a batched dataset with at least one; a generator that was "
    "iterated before is used up."
)


class Generated:
    """The batches of a generator, of which the first ones can be read ahead.

    Args:
        batches: yields ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.
        most: largest number of batches to read ahead; ``None`` for any.
    """

    def __init__(self, batches: Iterator, most: int | None = None) -> None:
        self._ahead: collections.deque[tuple] = collections.deque()
        self._rest = map(_arrays, batches)
        self._most = most
        self._used_up = False

    def __iter__(self) -> Iterator[tuple]:
        """Yields batches ahead of use; `dataset` yields them again."""
        yield from tuple(self._ahead)
        while self._most is None or len(self._ahead) < self._most:
            batch = next(self._rest, None)
            if batch is None:
                return
            self._ahead.append(batch)
            yield batch

    def dataset(self) -> tf.data.Dataset:
        """Returns a dataset of all batches, each once; a second pass over it fails."""
        first = first_of(self)
        specs = tuple(tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in first)
        # Otherwise TensorFlow takes one batch more than is asked for.
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        batches = tf.data.Dataset.from_generator(
            lambda: self._each_once(specs), output_signature=specs
        )
        return batches.with_options(options)

    def _each_once(self, specs):
        if self._used_up:
            raise ValueError(
                "The generator has no more batches. Give it more, or choose fewer epochs or steps."
            )
        while self._ahead:
            yield _as_specified(self._ahead.popleft(), specs)
        for batch in self._rest:
            yield _as_specified(batch, specs)
        self._used_up = True


def opened(x: Any, most: int | None = None) -> Any:
    """Returns data whose first batches can be read ahead, and whose samples have a known shape.

    Args:
        x: a dataset, whose elements receive the shapes of its first one if theirs are unknown; an
            iterator of batches, which becomes a `Generated`; other data are returned unchanged.
        most: see `Generated`.
    """
    require_unmasked(x)
    if isinstance(x, tf.data.Dataset):
        return _of_known_shapes(x)
    return Generated(x, most) if isinstance(x, Iterator) else x


def for_keras(x: Any) -> Any:
    """Returns opened data as Keras takes them."""
    return x.dataset() if isinstance(x, Generated) else x


def is_batched(x: Any) -> bool:
    """Returns whether opened data consist of batches; arrays and tensors do not."""
    return isinstance(x, (tf.data.Dataset, Generated, keras.utils.PyDataset))


def elements(x: Any) -> Iterator[tuple]:
    """Yields the batches ``(x, y, sample_weight)`` of opened data, with ``None`` for none."""
    batches = x
    if isinstance(x, keras.utils.PyDataset):
        indices = itertools.count() if x.num_batches is None else range(x.num_batches)
        batches = map(x.__getitem__, indices)
    return map(keras.utils.unpack_x_y_sample_weight, batches)


def first_of(batches: Iterable) -> Any:
    """Returns the first batch; raises `ValueError` if there is none."""
    for batch in batches:
        return batch
    raise ValueError(NO_EXAMPLES)


def _arrays(batch: Any) -> tuple[np.ndarray, ...]:
    """Returns a batch as arrays ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    if y is None and sample_weight is not None:
        y = np.zeros(len(sample_weight))
    return tuple(np.asarray(array) for array in (x, y, sample_weight) if array is not None)


def _as_specified(batch, specs):
    """Returns arrays in the dtypes of the first batch; refuses to round reals to integers."""
    if len(batch) != len(specs):
        raise ValueError(
            f"The first batch of the generator has {len(specs)} parts (of x, y, sample_weight), a "
            f"later one {len(batch)}. Yield the same parts in every batch."
        )
    return tuple(
        array.astype(spec.dtype.as_numpy_dtype, casting="same_kind", copy=False)
        for array, spec in zip(batch, specs)
    )


def _of_known_shapes(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset, with the shapes of its first element where they are not known."""
    if all(_is_known(spec) for spec in tf.nest.flatten(dataset.element_spec)):
        return dataset
    shapes = [_dense(leaf).shape for leaf in tf.nest.flatten(first_of(dataset))]
    shapes = [tf.TensorShape([None]).concatenate(s[1:]) if s.rank else s for s in shapes]
    is_tuple = isinstance(dataset.element_spec, tuple)

    def shaped(*element):
        element = element if is_tuple else element[0]
        leaves = map(_dense, tf.nest.flatten(element))
        known = [tf.ensure_shape(leaf, shape) for leaf, shape in zip(leaves, shapes)]
        return tf.nest.pack_sequence_as(element, known)

    return dataset.map(shaped)


def _is_known(spec: Any) -> bool:
    if isinstance(spec, tf.RaggedTensorSpec):
        return False
    return not isinstance(spec, tf.TensorSpec) or (
        spec.shape.rank is not None and spec.shape[1:].is_fully_defined()
    )


def _dense(tensor: Any) -> tf.Tensor:
    """Returns a ragged tensor whose rows are equally long as a tensor; others unchanged."""
    if not isinstance(tensor, tf.RaggedTensor):
        return tensor
    dense = tensor.to_tensor()
    message = "The samples of a ragged batch have different shapes. Pad or crop them first."
    with tf.control_dependencies(
        [tf.debugging.assert_equal(tf.size(tensor.flat_values), tf.size(dense), message)]
    ):
        return tf.identity(dense)
