"""The gradient of a batch from parts of it in turn: memory for one part at a time.

    ∇ (Σ_i w_i l_i / W) = Σ_parts ∇ (Σ_{i ∈ part} w_i l_i / W)

The noise and probes of an example are keyed by its place in the batch, so the sum is the
gradient of the whole batch to rounding.
"""

import tensorflow as tf

from iresnet_tf.numerics import random


def accumulated(differentiate, batch, seed, parts, variables, figures, dtype):
    """What ``differentiate`` gives of the batch, as the sum over ``parts`` of it.

    Args:
        differentiate: ``(part, seed) → (loss, figures, gradients)``: the part's share of the
            loss, a dict of per-sample tensors, and the gradients of that share.
        batch: ``(x, y, sample_weight)``, tensors ``[batch, …]`` or ``None``.
        seed: stateless seed of the batch, perhaps placed in a larger one.
        parts: their number; they are as equal as they can be, and none is empty.
        variables: what the gradients are with respect to.
        figures: names of the per-sample figures.
        dtype: of the loss and the figures.

    Returns:
        as ``differentiate``, of the whole batch.
    """
    examples = tf.shape(batch[0])[0]
    count = tf.minimum(parts, examples)

    def body(index, loss, rows, gradients):
        start, stop = examples * index // count, examples * (index + 1) // count
        part = tuple(None if each is None else each[start:stop] for each in batch)
        more, values, steps = differentiate(part, random.within(seed, start, examples))
        rows = {name: rows[name].write(index, values[name]) for name in figures}
        gradients = [
            total if step is None else total + step for total, step in zip(gradients, steps)
        ]
        return index + 1, loss + more, rows, gradients

    rows = {
        name: tf.TensorArray(dtype, count, infer_shape=False, element_shape=[None])
        for name in figures
    }
    start = (
        tf.constant(0),
        tf.zeros([], dtype),
        rows,
        [tf.zeros(v.shape, v.dtype) for v in variables],
    )
    _, loss, rows, gradients = tf.while_loop(
        lambda index, *_: index < count, body, start, parallel_iterations=1
    )
    return loss, {name: row.concat() for name, row in rows.items()}, gradients
