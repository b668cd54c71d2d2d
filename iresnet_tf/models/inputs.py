"""Checks the data that a model receives, and returns their shape and first examples."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.inputs import require_unmasked
from iresnet_tf.models.batches import NO_EXAMPLES, elements, first_of, is_batched

WEIGHTS = "sample_weight has finite numbers of at least 0, the weights of samples in a mean."


def first_examples(x: Any, wanted: int = 1, held_out: float = 0.0) -> np.ndarray:
    """Returns about ``wanted`` training examples.

    Args:
        x: array, tensor or opened batches.
        wanted: number of examples; batched data give whole batches, so perhaps more.
        held_out: fraction at the end of an array that is held out for validation.

    Raises:
        ValueError: if the data are not real numbers, or there are none.
    """
    if is_batched(x):
        return np.concatenate([batch for batch, _ in _first_batches(x, wanted)])
    if not hasattr(x, "shape") or len(x.shape) == 0:
        raise ValueError(
            "The data are an array, a tensor, a tf.data.Dataset, a generator or a "
            f"keras.utils.PyDataset; received {type(x).__name__}. Convert them with numpy.asarray."
        )
    training = int(x.shape[0] * (1.0 - held_out))
    return _numbers(x[: min(wanted, training)])


def first_pairs(
    x: Any, y: Any, wanted: int = 1, held_out: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns about ``wanted`` training pairs of ``x`` and ``y``, or of batches ``x`` of pairs.

    For the other arguments and errors see `first_examples`.
    """
    if not is_batched(x):
        return first_examples(x, wanted, held_out), first_examples(y, wanted, held_out)
    first, second = zip(*_first_batches(x, wanted))
    return np.concatenate(first), np.concatenate([_numbers(batch) for batch in second])


def are_pairs(x: Any, y: Any) -> bool:
    """Returns whether the data are pairs: ``y`` is given, or the batches are pairs."""
    if isinstance(x, tf.data.Dataset):
        y = keras.utils.unpack_x_y_sample_weight(x.element_spec)[1]
    elif is_batched(x):
        y = first_of(elements(x))[1]
    return y is not None


def _first_batches(batches: Any, wanted: int) -> list[tuple]:
    """Returns the first batches as pairs ``(x, y)``, of about ``wanted`` examples in total."""
    collected: list[tuple] = []
    count = 0
    for x, y, _ in elements(batches):
        x = _numbers(x)
        if collected and x.shape[1:] != collected[0][0].shape[1:]:
            raise ValueError(
                "The samples of all batches have one shape; received batches of shapes "
                f"{collected[0][0].shape} and {x.shape}. Pad or crop the samples."
            )
        collected.append((x, y))
        count += x.shape[0] if x.ndim else 0
        if count >= wanted:
            break
    if not count:
        raise ValueError(NO_EXAMPLES)
    return collected


def static_shape(x: Any) -> tf.TensorShape:
    """Returns the shape of the data, or of their batches, as far as it is known."""
    if isinstance(x, tf.data.Dataset):
        x = keras.utils.unpack_x_y_sample_weight(x.element_spec)[0]
    elif is_batched(x):
        x = first_examples(x)
        return tf.TensorShape([None, *x.shape[1:]])
    return tf.TensorShape(getattr(x, "shape", None))


def require_equal_lengths(x: Any, y: Any, sample_weight: Any) -> None:
    """Raises `ValueError` for arrays of different numbers of examples."""
    arrays = {"x": x, "y": y, "sample_weight": sample_weight}
    lengths = {
        name: int(array.shape[0])
        for name, array in arrays.items()
        if getattr(array, "shape", ()) and not is_batched(array)
    }
    if len(set(lengths.values())) > 1:
        received = ", ".join(f"{count} in {name}" for name, count in lengths.items())
        raise ValueError(f"The arrays have one row for each example; received {received} rows.")


def require_examples(x: tf.Tensor) -> tf.Tensor:
    """Returns the batch ``x`` of a training step, which fails without examples."""
    message = "A batch has no examples. Leave empty batches out: they have no gradient."
    some = tf.debugging.assert_positive(tf.shape(x)[0], message)
    with tf.control_dependencies([some]):
        return tf.identity(x)


def targets_or_zeros(y: Any, sample_weight: Any) -> Any:
    """Returns the targets, or zeros for weights without targets, which Keras would ignore.

    Raises:
        ValueError: for masked values, and for weights that are negative or not finite.
    """
    require_unmasked(y)
    require_unmasked(sample_weight)
    if sample_weight is not None:
        weights = np.asarray(sample_weight)
        for index in np.argwhere(~((weights >= 0.0) & np.isfinite(weights)))[:1]:
            raise ValueError(f"{WEIGHTS} Received {weights[tuple(index)]} for sample {index[0]}.")
    return np.zeros(len(sample_weight)) if y is None and sample_weight is not None else y


def _numbers(x: Any) -> np.ndarray:
    """Returns ``x`` as an array; raises `ValueError` unless it has real numbers and examples."""
    require_unmasked(x)
    array = None if isinstance(x, (dict, list, tuple)) else np.asarray(x)
    if array is None or array.dtype.kind not in "buif":
        kind = type(x).__name__ if array is None else array.dtype
        raise ValueError(
            f"The data are real numbers, [examples, …event]; received {kind}. Convert them, or "
            "map the dataset to its samples."
        )
    if array.size == 0:
        raise ValueError(f"The data have no examples; received shape {array.shape}.")
    return array


def require_event_shape(x: Any, event_shape: tuple[int, ...], name: str) -> None:
    """Raises `ValueError` for no samples, or samples of another shape, as far as it is known."""
    shape = static_shape(x)
    if shape.rank and shape[0] == 0:
        raise ValueError(f"The data have no examples; received shape {shape}.")
    if shape[1:].is_compatible_with(event_shape):
        return
    if shape.is_compatible_with(event_shape):
        raise ValueError(
            f"{name} takes batches of samples; received data of shape {shape}, that of one sample. "
            "Batch the dataset, or give the array a leading axis."
        )
    raise ValueError(
        f"{name} was built for samples of shape {tuple(event_shape)}; received data of shape "
        f"{shape}. Reshape the data, or make a new model."
    )
