"""Sums over the replicas of a global batch, and the place of a replica in it."""

from collections.abc import Sequence

import tensorflow as tf

from iresnet_tf.numerics import random


def placed_seed(seed: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Returns the seed with the place of this replica's examples in the global batch.

    With one replica it returns the seed ``[2]``, which is equal on all replicas, unchanged.
    ``batch`` is the number of this replica's examples, an int32 scalar.
    """
    context = _replica_context()
    if context is None:
        return seed
    place, count = context.replica_id_in_sync_group, context.num_replicas_in_sync
    # All communication libraries can sum float32, which counts exactly to 2²⁴ examples.
    size = tf.one_hot(place, count) * tf.cast(batch, tf.float32)
    sizes = tf.cast(context.all_reduce(tf.distribute.ReduceOp.SUM, size), tf.int32)
    first = tf.reduce_sum(tf.where(tf.range(count) < place, sizes, 0))
    return random.placed(seed, first, tf.reduce_sum(sizes))


def global_weight_share(weight: tf.Tensor) -> tf.Tensor:
    """Returns ``w_replica / Σ w``, the weight of this replica's mean in the global mean."""
    context = _replica_context()
    if context is None:
        return tf.ones_like(weight)
    return tf.math.divide_no_nan(weight, context.all_reduce(tf.distribute.ReduceOp.SUM, weight))


def all_reduce_sum(tensors: Sequence[tf.Tensor | None]) -> Sequence[tf.Tensor | None]:
    """Returns the sum over the replicas of each tensor of a list; ``None`` stays ``None``."""
    context = _replica_context()
    if context is None:
        return tensors
    known = [tensor for tensor in tensors if tensor is not None]
    sums = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, known))
    return [None if tensor is None else next(sums) for tensor in tensors]


def keep_on_first(tensors: Sequence[tf.Tensor | None]) -> Sequence[tf.Tensor | None]:
    """Returns the tensors on the first replica, and zeros on the others."""
    context = _replica_context()
    if context is None:
        return tensors
    is_first = context.replica_id_in_sync_group == 0
    return [None if x is None else x * tf.cast(is_first, x.dtype) for x in tensors]


def _replica_context():
    """Returns the context of the replica, or ``None`` if there is only one replica."""
    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context
