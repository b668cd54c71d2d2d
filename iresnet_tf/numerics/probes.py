"""Random numbers keyed by (seed, index of the example), and the probes of a trace.

Every draw is stateless and laid out example by example, so what an example
receives does not depend on the size of the batch that it travels in.
"""

import numpy as np
import tensorflow as tf


def as_seed(seed):
    """A stateless seed, ``int32 [2]``, from an integer or a pair.

    Raises:
        ValueError: if ``seed`` is neither.
    """
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        return tf.constant([int(seed) & 0x7FFFFFFF, int(seed) >> 31 & 0x7FFFFFFF], tf.int32)
    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank == 0 and seed.dtype.is_integer:
        return tf.stack([tf.cast(seed, tf.int32), 0])
    if seed.shape != (2,) or not seed.dtype.is_integer:
        raise ValueError(
            "A seed is an integer or a pair of integers (a tensor of shape [2]); "
            f"received shape {seed.shape} of {seed.dtype.name}."
        )
    return tf.cast(seed, tf.int32)


def fold_in(seed, number):
    """A seed of its own for every ``number``."""
    return tf.random.fold_in(seed, tf.cast(number, tf.int32))


def rademacher(shape, seed, dtype):
    """``±1`` with equal probability, of the given ``shape [batch, …]``."""
    bits = tf.random.stateless_uniform(shape, seed, minval=0, maxval=2, dtype=tf.int32)
    return tf.cast(2 * bits - 1, dtype)


def gaussian(shape, seed, dtype):
    """Standard normal draws of the given ``shape [batch, …]``."""
    return tf.random.stateless_normal(shape, seed, dtype=dtype)


DISTRIBUTIONS = {"rademacher": rademacher, "gaussian": gaussian}
