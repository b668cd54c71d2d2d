"""Objects that are determined by their configuration: estimators and solvers."""

from typing import Any

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
