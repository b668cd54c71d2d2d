"""Functions of a map and a batch, compiled once for every kind and shape of map.

They are called with the tensors of the map at hand: sixteen equal blocks cost one trace, eager
calls run compiled, and the same numbers come out however a block is called.
"""

import functools

import tensorflow as tf

from iresnet_tf.numerics.execution.threads import Whole, map_parts, number_of_parts
from iresnet_tf.numerics.maps.linearization import Shift


def call(function, options, g, *arguments):
    """``function(*options, part, g, *arguments)``, compiled.

    On several threads parts of the batch run beside each other: see
    `iresnet_tf.numerics.execution.threads`.

    Args:
        function: takes the options, the `Part` of the batch or the `Whole`, the map there, and
            the arguments; gives tensors ``[batch, …]``.
        options: hashable; each of them has a trace of its own.
        g: map of `iresnet_tf.numerics.maps.linearization`.
        *arguments: tensors, the first of them a batch.
    """
    structure = MapSignature(g)
    if structure.is_opaque:
        return function(*options, Whole(), g, *arguments)
    specs = tuple(
        tf.TensorSpec([None, *each.shape[1:]] if index == 0 else each.shape, each.dtype)
        for index, each in enumerate(arguments)
    )
    parts, examples = number_of_parts(), arguments[0].shape[0]
    if examples is not None and examples < parts:
        parts = 1
    return _compiled(function, options, structure, specs, parts)(structure.tensors(g), *arguments)


@functools.lru_cache(maxsize=256)
def _compiled(function, options, structure, specs, parts):
    run = functools.partial(_run, function, options, structure, parts)
    return tf.function(
        run,
        autograph=False,
        input_signature=[structure.specs, *specs],
        # Copied into the graph of a training step for every block, it would fill the memory.
        experimental_attributes={"_noinline": True},
    )


def _run(function, options, structure, parts, tensors, x, *arguments):
    g = structure.rebuild(tensors)

    def run(rows, part):
        return function(*options, part, of_rows(g, part), rows, *arguments)

    return map_parts(run, x, parts)


class MapSignature:
    """What a map is made of but its tensors: a key, and the way back from the tensors."""

    def __init__(self, g):
        self.template = _template(g)
        leaves = tf.nest.flatten(self.template)
        self.specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]
        known = (tf.TensorSpec, int, str, type(None))
        # A Keras layer or a function may change behind the same identity: never cached.
        self.is_opaque = not all(isinstance(leaf, known) for leaf in leaves)
        # Tuples compare without their types.
        self._key = (_types(g), tuple(leaves))

    @staticmethod
    def tensors(g):
        return [leaf for leaf in tf.nest.flatten(g) if tf.is_tensor(leaf)]

    def rebuild(self, tensors):
        rest = iter(tensors)
        leaves = tf.nest.flatten(self.template)
        filled = [next(rest) if isinstance(leaf, tf.TensorSpec) else leaf for leaf in leaves]
        return tf.nest.pack_sequence_as(self.template, filled)

    def __hash__(self):
        return hash(self._key)

    def __eq__(self, other):
        return self._key == other._key


def _template(g):
    """The map with a specification in place of each tensor; shifts are of any number of samples."""
    if isinstance(g, Shift):
        return Shift(tf.TensorSpec([None, *g.offset.shape[1:]], g.offset.dtype))
    if isinstance(g, tuple):
        parts = map(_template, g)
        return type(g)(*parts) if hasattr(g, "_fields") else tuple(parts)
    return tf.TensorSpec(g.shape, g.dtype) if tf.is_tensor(g) else g


def holds_a_shift(g):
    """Whether the map is another one for every sample of its batch."""
    return isinstance(g, Shift) or isinstance(g, tuple) and any(map(holds_a_shift, g))


def of_rows(g, part):
    """The map of a part of the batch that ``g`` is of."""
    if isinstance(g, Shift):
        return Shift(part.of_rows(g.offset))
    if isinstance(g, tuple) and holds_a_shift(g):
        parts = (of_rows(each, part) for each in g)
        return type(g)(*parts) if hasattr(g, "_fields") else tuple(parts)
    return g


def _types(g):
    return (type(g), *map(_types, g)) if isinstance(g, tuple) else None
