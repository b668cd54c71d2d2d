"""Where the examples of a replica stand in the global batch."""

import tensorflow as tf

from iresnet_tf.numerics import probes


def placed_seed(seed, batch):
    """The seed, placed in the global batch; as it is where there is one replica.

    Args:
        seed: stateless seed ``[2]``, equal on all replicas.
        batch: number of this replica's examples, an int32 scalar.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    sizes = context.all_gather(tf.reshape(batch, [1]), axis=0)
    before = tf.range(context.num_replicas_in_sync) < context.replica_id_in_sync_group
    first = tf.reduce_sum(tf.where(before, sizes, 0))
    return probes.placed(seed, first, tf.reduce_sum(sizes))


def share(weight):
    """``w_replica / Σ w``: what a replica's weighted mean counts in the global one."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.ones_like(weight)
    return tf.math.divide_no_nan(weight, context.all_reduce(tf.distribute.ReduceOp.SUM, weight))
