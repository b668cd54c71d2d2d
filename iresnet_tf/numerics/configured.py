"""Objects that are determined by their configuration: estimators and solvers."""

from typing import Any

from typing_extensions import Self


class Configured:
    """Base of objects that are compared, hashed, shown and serialised by `get_config`.

    Equal objects share compiled functions, so `get_config` must return all options of a subclass.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, as plain data."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash(repr(self))

    def __repr__(self):
        options = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({options})"
