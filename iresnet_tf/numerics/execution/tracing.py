"""Functions of linear operators that many layers call: one trace for all that are alike."""

import functools

import tensorflow as tf


def traced_once(function, operator, v, *others):
    """The function as one of a graph: traced once for each kind and shape of operator.

    A training step calls it for every layer, where a copy for each would fill the memory.

    Args:
        function: takes the operator, a vector and whatever more.
        operator: the pair ``(A, Aᵀ)`` of `iresnet_tf.numerics.maps.operators`.
        v: vector of its input shape.
        *others: what else decides a trace of its own; hashable.
    """
    kind = type(operator), operator.kernel.shape
    return _traced(function, *kind, v.shape, v.dtype, *others)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=256)
def _traced(function, *signature):
    del signature
    # Another object every time: TensorFlow warns of many traces of the same one.
    own = functools.partial(function)
    return tf.function(own, autograph=False, experimental_attributes={"_noinline": True})
