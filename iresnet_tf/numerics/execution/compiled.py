"""Functions of maps and operators, compiled once for each kind and shape of their arguments.

Sixteen equal blocks cost one trace, eager calls run compiled, and a block gives the same numbers
however it is called.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla, noinline_function
from iresnet_tf.numerics.execution.threads import Whole, map_parts, number_of_parts
from iresnet_tf.numerics.maps import Map, derived
from iresnet_tf.numerics.structure import Signature, tensors_of


def call_on_batch(
    function: Callable,
    options: tuple[Hashable, ...],
    g: Map,
    batch: tuple[tf.Tensor, ...],
    *others: tf.Tensor,
) -> Any:
    """Returns ``function(*options, part, g, *batch, *others)``, compiled.

    What depends on the tensors of ``g`` alone is computed once for all parts: see `maps.Derived`.
    Several threads may each take a part of the batch: see
    `iresnet_tf.numerics.execution.threads`.

    Args:
        function: takes the options, a `Part` of the batch or the `Whole`, the map and the batch
            restricted to that part, and the other arguments; returns tensors ``[batch, …]``.
        options: hashable objects; each value is traced separately.
        g: a map, which may vary by sample.
        batch: tensors ``[batch, …]``.
        *others: tensors that all parts of the batch share.
    """
    # Eagerly, a compiled function derives the map with fewer calls of TensorFlow.  In a graph it
    # would receive more tensors, and its gradient would derive the map again.
    if not tf.executing_eagerly():
        g = derived(g)
    signature = Signature(g, any_batch=True)
    # XLA compiles the whole program, and only if the size of the batch is known in it.
    if signature.is_opaque or is_traced_for_xla():
        return function(*options, Whole(), derived(g), *batch, *others)
    specs = [tf.TensorSpec([None, *rows.shape[1:]], rows.dtype) for rows in batch]
    specs += [tf.TensorSpec(other.shape, other.dtype) for other in others]
    parts, examples = number_of_parts(), batch[0].shape[0]
    if examples is not None and examples < parts:
        parts = 1
    compiled = _compiled_on_batch(function, options, signature, len(batch), tuple(specs), parts)
    if tf.executing_eagerly():
        return compiled(tensors_of(g), *batch, *others)
    # A loop of the caller needs results and gradients of its own shapes, not of any batch.
    tensors = list(map(_with_static_gradient, tensors_of(g), signature.specs))
    batched = map(_with_static_gradient, batch, specs)
    size = -1 if examples is None else examples
    results = compiled(tensors, *batched, *others)
    return tf.nest.map_structure(lambda rows: tf.reshape(rows, [size, *rows.shape[1:]]), results)


def _with_static_gradient(tensor, spec):
    """Returns the tensor.  Its gradient has its static shape, even if ``spec`` has any batch."""
    if spec.shape.is_fully_defined() or not tensor.shape.is_fully_defined():
        return tensor
    return tf.reshape(tensor, tensor.shape)


@functools.lru_cache(maxsize=256)
def _compiled_on_batch(function, options, signature, batched, specs, parts):
    def run(tensors, *arguments):
        g, others = derived(signature.rebuild(tensors)), arguments[batched:]

        def run_part(rows, part):
            return function(*options, part, g.at_rows(part), *rows, *others)

        return map_parts(run_part, arguments[:batched], parts)

    varies = [spec.shape.rank and spec.shape[0] is None for spec in signature.specs]
    shared = [False] * (len(specs) - batched)
    return noinline_function(
        run, [signature.specs, *specs], [*map(bool, varies), *[True] * batched, *shared]
    )


def call(function: Callable, *arguments: Any) -> Any:
    """Returns ``function(*arguments)``, a nest of tensors, compiled for exactly these shapes.

    Args:
        function: takes the arguments.
        *arguments: structures, tensors and plain data.
    """
    return _compiled(function, Signature(arguments))(tensors_of(arguments))


@functools.lru_cache(maxsize=256)
def _compiled(function, signature):
    def run(tensors):
        return function(*signature.rebuild(tensors))

    return noinline_function(run, [signature.specs])
