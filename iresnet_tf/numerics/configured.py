"""Objects that are what their configuration says: estimators and solvers."""


class Configured:
    """Compared, hashed, shown and serialised by `get_config`.

    Equal objects share the compiled functions that were made for one of them, so a
    subclass with a new option gives it in `get_config`.
    """

    def get_config(self):
        """The constructor's arguments, as plain data."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        """The object of that configuration."""
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash(repr(self))

    def __repr__(self):
        options = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({options})"
