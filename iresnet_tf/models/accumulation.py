"""Computes the gradient of a batch as a sum over its parts, with the memory of one part.

    ∇ (Σ_i w_i l_i / W) = Σ_parts ∇ (Σ_{i ∈ part} w_i l_i / W)

The place of an example in the batch decides its noise and probes, so the sum equals the gradient
of the whole batch to rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.numerics import random


def accumulated(
    differentiate: Callable,
    batch: tuple,
    seed: tf.Tensor,
    *,
    parts: int,
    variables: Sequence[keras.Variable],
    names: Sequence[str],
    dtype: Any,
) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
    """Returns ``differentiate(batch, seed)``, computed as a sum over parts of the batch.

    Args:
        differentiate: function ``(part, seed) → (loss, figures, gradients)``: the contribution of
            the part to the loss, a dict of per-sample tensors, and the gradients of the loss.
        batch: ``(x, y, sample_weight)``, tensors ``[batch, …]`` or ``None``.
        seed: stateless seed of the batch.
        parts: number of parts, of about equal size; at most one for each example.
        variables: the variables that the loss is differentiated by.
        names: names of the per-sample figures.
        dtype: dtype of the loss and the figures.
    """
    examples = tf.shape(batch[0])[0]
    count = tf.minimum(parts, examples)

    def body(index, loss, rows, gradients):
        start, stop = examples * index // count, examples * (index + 1) // count
        part = tuple(None if tensor is None else tensor[start:stop] for tensor in batch)
        part_seed = random.within(seed, start, examples)
        part_loss, figures, part_gradients = differentiate(part, part_seed)
        rows = {name: rows[name].write(index, figures[name]) for name in names}
        gradients = [
            total if gradient is None else total + gradient
            for total, gradient in zip(gradients, part_gradients)
        ]
        return index + 1, loss + part_loss, rows, gradients

    options = {"infer_shape": False, "element_shape": [None]}
    rows = {name: tf.TensorArray(dtype, count, **options) for name in names}
    gradients = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    _, loss, rows, gradients = tf.while_loop(
        lambda index, *_: index < count,
        body,
        (tf.constant(0), tf.zeros([], dtype), rows, gradients),
        parallel_iterations=1,
    )
    return loss, {name: row.concat() for name, row in rows.items()}, gradients
