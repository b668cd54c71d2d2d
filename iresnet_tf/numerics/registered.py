"""Finds the classes that users have registered with Keras."""

from typing import TypeVar

import keras

T = TypeVar("T")


def registered(name: str, base: type[T]) -> type[T] | None:
    """Returns the subclass of ``base`` with that registered name, or ``None``.

    Args:
        name: ``"package>Class"``, as ``keras.saving.register_keras_serializable`` makes it.
        base: the class that it extends.
    """
    found = keras.saving.get_registered_object(name)
    return found if isinstance(found, type) and issubclass(found, base) else None
