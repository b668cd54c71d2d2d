"""Immutable objects made of tensors, which compiled functions take as arguments."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

import tensorflow as tf
from typing_extensions import Self, dataclass_transform

# Much quicker than `tf.is_tensor`, which examines protocols.
_TENSORS = (tf.Tensor, tf.Variable)


@dataclass_transform(frozen_default=True, eq_default=False)
class Structure:
    """Base of maps, operators and norms: a frozen dataclass of tensors, structures and plain data.

    A subclass lists its fields with annotations; its constructor takes them in that order.
    Structures that differ only in the values of their tensors share one compiled function, so a
    field is a tensor, a structure, a tuple of these, or plain data (a number, a string, ``None``).
    """

    per_sample: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that are tensors ``[batch, …]``, or ``[1, …]`` for all samples alike."""

    is_opaque: ClassVar[bool] = False
    """Whether the object may change without becoming another one, so that nothing is cached."""

    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, eq=False)(cls)
        cls._names = tuple(cls.__dataclass_fields__)  # type: ignore[attr-defined]

    @property
    def varies_by_sample(self) -> bool:
        """Whether the samples of a batch may differ in a field of this object or inside it."""
        return any(part.per_sample for part in _nodes(self) if isinstance(part, Structure))

    def at_rows(self, part: "Rows") -> Self:
        """Returns the object for some samples of the batch that it belongs to."""
        if not self.varies_by_sample:
            return self
        return _mapped(self, lambda leaf, varies: part.of_rows(leaf) if varies else leaf)


class Rows(Protocol):
    """Some samples of a batch."""

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns these samples' rows of ``[batch, …]``, or of ``[1, …]`` for all alike."""


class Signature:
    """A nest of structures without the values of its tensors: the key of a cache.

    Args:
        nest: a structure, a tensor, plain data, or a tuple of these.
        any_batch: whether the tensors that `Structure.per_sample` names may have any number of
            rows.

    Attributes:
        specs: specifications of the tensors, in the order of `tensors_of`.
        is_opaque: whether anything in the nest is opaque: see `Structure.is_opaque`.
    """

    PLAIN = (tuple, tf.TensorSpec, int, float, str, type(None))

    def __init__(self, nest: Any, *, any_batch: bool = False) -> None:
        def specified(leaf, varies):
            if not isinstance(leaf, _TENSORS):
                return leaf
            shape = [None, *leaf.shape[1:]] if any_batch and varies else leaf.shape
            return tf.TensorSpec(shape, leaf.dtype)

        self._template = _mapped(nest, specified)
        nodes = _nodes(self._template)
        self.specs = [node for node in nodes if isinstance(node, tf.TensorSpec)]
        self.is_opaque = any(
            node.is_opaque if isinstance(node, Structure) else not isinstance(node, self.PLAIN)
            for node in nodes
        )
        self._key = _key(self._template)

    def rebuild(self, tensors: Iterable[tf.Tensor]) -> Any:
        """Returns the nest with the given tensors."""
        rest = iter(tensors)
        return _mapped(
            self._template, lambda leaf, _: next(rest) if isinstance(leaf, tf.TensorSpec) else leaf
        )

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signature) and self._key == other._key


def tensors_of(nest: Any) -> list[tf.Tensor]:
    """Returns the tensors of a nest of structures and tuples, in the order of their fields."""
    return [node for node in _nodes(nest) if isinstance(node, _TENSORS)]


def replaced(nest: Any, kind: type, function: Callable) -> Any:
    """Returns a nest with ``function(part)`` in place of its outermost structures of a kind."""
    if isinstance(nest, kind):
        return function(nest)
    if isinstance(nest, Structure):
        return type(nest)(*(replaced(part, kind, function) for part in _parts(nest)))
    if isinstance(nest, tuple):
        return tuple(replaced(part, kind, function) for part in nest)
    return nest


def _parts(nest):
    """Returns the values of the fields of a structure, or the items of a tuple."""
    if isinstance(nest, Structure):
        return [getattr(nest, name) for name in nest._names]
    return nest if isinstance(nest, tuple) else ()


def _nodes(nest: Any) -> list[Any]:
    """Returns a nest, then every structure, tuple and leaf inside it, in order."""
    nodes = [nest]
    for part in _parts(nest):
        nodes += _nodes(part)
    return nodes


def _mapped(nest: Any, function: Callable, varies: bool = False) -> Any:
    """Returns a nest with ``function(leaf, varies)`` in place of every leaf.

    ``varies`` tells whether the leaf is a field that `Structure.per_sample` names.
    """
    if isinstance(nest, Structure):
        fields = zip(nest._names, _parts(nest), strict=True)
        return type(nest)(*(_mapped(x, function, name in nest.per_sample) for name, x in fields))
    if isinstance(nest, tuple):
        return tuple(_mapped(part, function) for part in nest)
    return function(nest, varies)


def _key(template):
    if isinstance(template, Structure):
        return (type(template), *map(_key, _parts(template)))
    if isinstance(template, tuple):
        return (tuple, *map(_key, template))
    # 1, 1.0 and True are equal, but they make different graphs.
    return (type(template), template)
