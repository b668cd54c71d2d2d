"""Random numbers that depend only on a seed and on the index of an example.

Every draw is stateless and laid out example by example, so it does not depend on the size of
the batch.  A seed ``[4]`` also holds the place of its examples in a larger batch (see `placed`):
a part of a batch then draws the same numbers as the whole batch does for it.  Only `new_state`
draws a seed itself.
"""

from typing import Any

import numpy as np
import tensorflow as tf


def as_seed(seed: Any) -> tf.Tensor:
    """Returns a stateless seed, ``int32 [2]``, given an integer or a pair of integers.

    A placed seed, ``[4]``, is returned unchanged.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        return tf.constant([int(seed) & 0x7FFFFFFF, int(seed) >> 31 & 0x7FFFFFFF], tf.int32)
    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank == 0 and seed.dtype.is_integer:
        return tf.stack([tf.cast(seed, tf.int32), 0])
    if seed.shape not in ((2,), (4,)) or not seed.dtype.is_integer:
        raise ValueError(
            "A seed is an integer or a pair of integers (a tensor of shape [2]); "
            f"received shape {seed.shape} of {seed.dtype.name}."
        )
    return tf.cast(seed, tf.int32)


def new_state(shape: Any, dtype: Any = None) -> tf.Tensor:
    """Returns new generator state, ``int32``; `keras.utils.set_random_seed` decides it.

    It is an initializer of weights, so it takes a ``dtype``.
    """
    del dtype
    return tf.constant(np.random.randint(0, 2**31 - 1, shape), tf.int32)


def placed(seed: tf.Tensor, first: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Returns the seed of the examples from ``first`` on in a batch of ``total``."""
    return tf.concat([unplaced(seed), tf.stack([first, total])], 0)


def within(seed: tf.Tensor, first: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Returns the seed of the examples from ``first`` on among the ``total`` ones of ``seed``."""
    if seed.shape == (2,):
        return placed(seed, first, total)
    return placed(seed, seed[2] + first, tf.maximum(seed[3], seed[2] + total))


def unplaced(seed: tf.Tensor) -> tf.Tensor:
    """Returns the seed ``[2]`` without a place, for numbers that all examples share."""
    return seed if seed.shape == (2,) else seed[:2]


def fold_in(seed: Any, number: int | tf.Tensor) -> tf.Tensor:
    """Returns a different seed for every ``number``; a place is kept."""
    seed = tf.convert_to_tensor(seed)
    folded = tf.random.fold_in(unplaced(seed), tf.cast(number, tf.int32))
    return folded if seed.shape == (2,) else tf.concat([folded, seed[2:]], 0)


def uniform(shape: Any, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws uniform numbers on ``[0, 1)`` of the given ``shape [batch, …]``."""
    return _by_example(tf.random.stateless_uniform, shape, seed, dtype=dtype)


def rademacher(shape: Any, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws ``±1`` with equal probability, of the given ``shape [batch, …]``."""
    draw = tf.random.stateless_uniform
    bits = _by_example(draw, shape, seed, minval=0, maxval=2, dtype=tf.int32)
    return tf.cast(2 * bits - 1, dtype)


def gaussian(shape: Any, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws standard normal numbers of the given ``shape [batch, …]``."""
    return _by_example(tf.random.stateless_normal, shape, seed, dtype=dtype)


def _by_example(draw, shape, seed, **options):
    if seed.shape == (2,):
        return draw(shape, seed, **options)
    # An example's numbers cannot be drawn alone, so the whole batch's are drawn.
    first, total = seed[2], seed[3]
    whole = draw(tf.concat([[total], shape[1:]], 0), unplaced(seed), **options)
    return whole[first : first + shape[0]]


DISTRIBUTIONS = {"rademacher": rademacher, "gaussian": gaussian}
"""Distributions of the probes of a trace, by name."""
