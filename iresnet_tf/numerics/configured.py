"""Objects that are determined by their configuration: estimators and solvers."""

import warnings
from typing import Any

import keras
import numpy as np
from typing_extensions import Self


class Configured:
    """Base of objects that are shown and serialised by `get_config`, and compared by all they hold.

    Equal objects share compiled functions.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, as plain data."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)

    def serialized(self) -> dict[str, Any]:
        """Returns the object as plain data, which Keras deserialises to an equal one.

        Raises:
            ValueError: if `get_config` leaves out an argument of the constructor, or has another,
                because the loaded object would differ from this one.
        """
        try:
            with warnings.catch_warnings():
                # The object itself has warned of its options.
                warnings.simplefilter("ignore")
                loaded = type(self).from_config(self.get_config())
        except TypeError:
            loaded = None
        if loaded != self:
            raise ValueError(
                f"{self!r} cannot be saved: {type(self).__name__}.get_config must return every "
                "argument of its constructor, and no other, so that the loaded object equals it."
            )
        return keras.saving.serialize_keras_object(self)

    def __eq__(self, other):
        return type(self) is type(other) and self._options() == other._options()

    def __hash__(self):
        return hash((type(self), self._options()))

    def _options(self):
        """Returns all attributes as one string, including those that `get_config` lacks."""
        plain = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }
        return repr(sorted(plain.items()))

    def __repr__(self):
        options = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({options})"
