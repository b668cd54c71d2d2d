"""Immutable objects made of tensors, which compiled functions take as arguments."""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import tensorflow as tf
from typing_extensions import Self, dataclass_transform


@dataclass_transform(frozen_default=True, eq_default=False)
class Structure:
    """Base of maps, operators and norms: a frozen dataclass of tensors, structures and plain data.

    A subclass lists its fields with annotations; its constructor takes them in that order.
    Two structures that differ in nothing but the values of their tensors share one compiled
    function, so a field is a tensor, a structure, a tuple of these, or plain data (a number, a
    string, ``None``).
    """

    per_sample: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that are tensors ``[batch, …]``, or ``[1, …]`` for all samples alike."""

    is_opaque: ClassVar[bool] = False
    """Whether the object may change behind its identity, so that nothing about it is cached."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, eq=False)(cls)

    @property
    def varies_by_sample(self) -> bool:
        """Whether the object is another one for every sample of a batch."""
        return any(each.per_sample for each in _structures_in(self))

    def at_rows(self, part: "Rows") -> Self:
        """Returns the object for some samples of the batch that it belongs to."""
        if not self.varies_by_sample:
            return self
        return type(self)(
            *(
                part.of_rows(value) if name in self.per_sample else _at_rows(value, part)
                for name, value in _fields(self)
            )
        )


class Rows(Protocol):
    """Some samples of a batch."""

    def of_rows(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns their rows of a tensor ``[batch, …]``, or of ``[1, …]`` for all alike."""


def _at_rows(value, part):
    if isinstance(value, Structure):
        return value.at_rows(part)
    return tuple(_at_rows(each, part) for each in value) if isinstance(value, tuple) else value


class Signature:
    """What a nest of structures is apart from the values of its tensors: the key of a cache.

    Args:
        nest: a structure, a tensor, plain data, or a tuple of these.
        any_batch: whether the tensors that `Structure.per_sample` names may have any number of
            rows.

    Attributes:
        specs: specifications of the tensors, in the order of `tensors_of`.
        is_opaque: whether a field may change behind its identity: see `Structure.is_opaque`.
    """

    PLAIN = (tf.TensorSpec, int, float, str, type(None))

    def __init__(self, nest: Any, *, any_batch: bool = False) -> None:
        self._template = _specified(nest, any_batch)
        self.specs = list(_leaves(self._template, tf.TensorSpec))
        opaque = (each.is_opaque for each in _structures_in(nest))
        leaves = _leaves(self._template, object)
        self.is_opaque = any(opaque) or not all(isinstance(each, self.PLAIN) for each in leaves)
        self._key = _key(self._template)

    def rebuild(self, tensors: Iterable[tf.Tensor]) -> Any:
        """Returns the nest with these tensors in place of its own."""
        rest = iter(tensors)
        return _mapped(
            self._template, lambda leaf: next(rest) if isinstance(leaf, tf.TensorSpec) else leaf
        )

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signature) and self._key == other._key


def tensors_of(nest: Any) -> list[tf.Tensor]:
    """Returns the tensors of a nest of structures and tuples, in the order of their fields."""
    return [leaf for leaf in _leaves(nest, object) if tf.is_tensor(leaf)]


def _fields(structure):
    return [(each.name, getattr(structure, each.name)) for each in dataclasses.fields(structure)]


def _mapped(nest, function):
    """The nest with ``function(leaf)`` in place of every leaf."""
    if isinstance(nest, Structure):
        return type(nest)(*(_mapped(value, function) for _, value in _fields(nest)))
    if isinstance(nest, tuple):
        return tuple(_mapped(each, function) for each in nest)
    return function(nest)


def _specified(nest, any_batch, varies=False):
    """The nest with a `tf.TensorSpec` in place of every tensor."""
    if isinstance(nest, Structure):
        return type(nest)(
            *(
                _specified(value, any_batch, any_batch and name in nest.per_sample)
                for name, value in _fields(nest)
            )
        )
    if isinstance(nest, tuple):
        return tuple(_specified(each, any_batch) for each in nest)
    if tf.is_tensor(nest):
        return tf.TensorSpec([None, *nest.shape[1:]] if varies else nest.shape, nest.dtype)
    return nest


def _leaves(nest, kind):
    if isinstance(nest, Structure):
        nest = tuple(value for _, value in _fields(nest))
    if isinstance(nest, tuple):
        for each in nest:
            yield from _leaves(each, kind)
    elif isinstance(nest, kind):
        yield nest


def _structures_in(nest):
    if isinstance(nest, Structure):
        yield nest
        nest = tuple(value for _, value in _fields(nest))
    if isinstance(nest, tuple):
        for each in nest:
            yield from _structures_in(each)


def _key(template):
    if isinstance(template, Structure):
        return (type(template), *(_key(value) for _, value in _fields(template)))
    if isinstance(template, tuple):
        return (tuple, *map(_key, template))
    # 1, 1.0 and True are equal, and make different graphs.
    return (type(template), template)
