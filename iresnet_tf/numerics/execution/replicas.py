"""What the replicas of a global batch know of each other."""

import tensorflow as tf

from iresnet_tf.numerics import random


def placed_seed(seed, batch):
    """The seed, placed in the global batch; as it is where there is one replica.

    Args:
        seed: stateless seed ``[2]``, equal on all replicas.
        batch: number of this replica's examples, an int32 scalar.
    """
    context = _replica_context()
    if context is None:
        return seed
    place, count = context.replica_id_in_sync_group, context.num_replicas_in_sync
    # In float32, which every engine adds up: whole to 2²⁴ examples.
    own = tf.one_hot(place, count) * tf.cast(batch, tf.float32)
    sizes = tf.cast(context.all_reduce(tf.distribute.ReduceOp.SUM, own), tf.int32)
    first = tf.reduce_sum(tf.where(tf.range(count) < place, sizes, 0))
    return random.placed(seed, first, tf.reduce_sum(sizes))


def global_weight_share(weight):
    """``w_replica / Σ w``: what a replica's weighted mean counts in the global one."""
    context = _replica_context()
    if context is None:
        return tf.ones_like(weight)
    return tf.math.divide_no_nan(weight, context.all_reduce(tf.distribute.ReduceOp.SUM, weight))


def all_reduce_sum(tensors):
    """``Σ`` over the replicas of each tensor of a list, where ``None`` stays so."""
    context = _replica_context()
    if context is None:
        return tensors
    known = [each for each in tensors if each is not None]
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, known))
    return [None if each is None else next(summed) for each in tensors]


def keep_on_first(tensors):
    """Tensors that all replicas share as those of the first alone: zeros on the others."""
    context = _replica_context()
    if context is None:
        return tensors
    first = context.replica_id_in_sync_group == 0
    return [None if each is None else each * tf.cast(first, each.dtype) for each in tensors]


def _replica_context():
    """The replica's context, or ``None`` where it is alone."""
    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context
