"""Random numbers that depend only on a seed and on the index of an example.

Every draw is stateless and laid out example by example, so it does not depend on the size of
the batch.  A seed ``[4]`` also holds the place of its examples in a larger batch (see `placed`):
a part of a batch then draws the same numbers as the whole batch does for it.  Only `new_state`
draws a seed itself.  A program that XLA compiles draws the same numbers, to rounding.
"""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla


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


def seed_value(seed: int | None) -> int:
    """Returns ``seed``, or a random seed for ``None``; requires an integer from 0 to 2³¹ − 1."""
    if seed is None:
        return int(np.random.randint(0, 2**31 - 1))
    if seed != int(seed) or not 0 <= seed < 2**31:
        raise ValueError(f"seed is an integer from 0 to 2**31 − 1; received {seed!r}.")
    return int(seed)


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
    folded = tf.stack([_word(seed), tf.cast(number, tf.int32)])
    return folded if seed.shape == (2,) else tf.concat([folded, seed[2:]], 0)


def fold_in_each(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Returns ``[fold_in(seed, 0), …, fold_in(seed, count − 1)]`` from a single draw."""
    parts = [tf.fill([count, 1], _word(seed)), tf.range(count)[:, tf.newaxis]]
    if seed.shape != (2,):
        parts.append(tf.tile(seed[tf.newaxis, 2:], [count, 1]))
    return tf.unstack(tf.concat(parts, 1))


def _word(seed):
    """Returns a random integer that depends on the seed, the first one of a folded seed."""
    if is_traced_for_xla():
        return _bits([], unplaced(seed), tf.int32)
    return tf.random.stateless_uniform([], unplaced(seed), None, None, tf.int32)


def _by_example(draw):
    """Returns a form of ``draw`` that also takes a placed seed."""

    @functools.wraps(draw)
    def drawn(shape, seed, dtype):
        if seed.shape == (2,):
            return draw(shape, seed, dtype)
        # An example's numbers cannot be drawn alone, so the whole batch's are drawn.
        first, total = seed[2], seed[3]
        whole = draw(tf.concat([[total], shape[1:]], 0), unplaced(seed), dtype)
        return whole[first : first + shape[0]]

    return drawn


@_by_example
def uniform(shape: Any, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws uniform numbers on ``[0, 1)`` of the given ``shape [batch, …]``."""
    if not is_traced_for_xla():
        return tf.random.stateless_uniform(shape, seed, dtype=dtype)
    if dtype == tf.float32:
        return tf.cast(_bits(shape, seed, tf.uint32) % 2**23, dtype) / 2.0**23
    bits = _bits(shape, seed, tf.uint64)
    # Of the two words of 32 bits, the lower one has the leading bits of the fraction.
    return tf.cast(bits % 2**20, dtype) / 2.0**20 + tf.cast(bits // 2**32, dtype) / 2.0**52


@_by_example
def rademacher(shape: Any, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws ``±1`` with equal probability, of the given ``shape [batch, …]``."""
    if not is_traced_for_xla():
        bits = tf.random.stateless_uniform(shape, seed, minval=0, maxval=2, dtype=tf.int32)
    else:
        bits = tf.cast(_bits(shape, seed, tf.uint32) % 2, tf.int32)
    return tf.cast(2 * bits - 1, dtype)


@_by_example
def gaussian(shape: Any, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws standard normal numbers of the given ``shape [batch, …]``."""
    if not is_traced_for_xla():
        return tf.random.stateless_normal(shape, seed, dtype=dtype)
    count = tf.reduce_prod(shape)
    radius, angle = tf.unstack(uniform([(count + 1) // 2, 2], seed, dtype), axis=1)
    # Source: Box and Muller 1958 (doi:10.1214/aoms/1177706645).
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(radius, 1e-7)))
    angle *= tf.constant(2.0 * np.pi, dtype)
    pairs = tf.stack([radius * tf.sin(angle), radius * tf.cos(angle)], 1)
    return tf.reshape(tf.reshape(pairs, [-1])[:count], shape)


def _bits(shape, seed, dtype):
    """Draws integers from all bits of a dtype, for XLA, the same as `tf.random` draws elsewhere.

    XLA draws others for negative seeds, and makes other floats of the same bits.

    Source: Salmon et al. 2011 (doi:10.1145/2063384.2063405), the generator Philox.
    """
    draw = functools.partial(tf.raw_ops.StatelessRandomUniformFullIntV2, alg=1)
    words = tf.bitcast(tf.cast(seed, tf.int64), tf.uint64)
    scrambling = tf.constant([0x02461E293EC8F720], tf.uint64)
    key, place = tf.split(draw(shape=[2], key=scrambling, counter=words, dtype=tf.uint64), 2)
    counter = tf.concat([tf.zeros_like(place), place], 0)
    return draw(shape=shape, key=key, counter=counter, dtype=dtype)


DISTRIBUTIONS = {"rademacher": rademacher, "gaussian": gaussian}
"""Distributions of the probes of a trace, by name."""
