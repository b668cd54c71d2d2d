"""Declares what kind a column of a table is: its values and its bounds."""

import dataclasses
import math
import re
from typing import Any


@dataclasses.dataclass(frozen=True)
class Interval:
    """The values between two bounds, infinite for none; a closed bound is itself a value."""

    lower: float = -math.inf
    upper: float = math.inf
    closed: tuple[bool, bool] = (False, False)

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"An interval has a lower and a higher end; received {self}.")

    def __str__(self) -> str:
        left, right = "(["[self.closed[0]], ")]"[self.closed[1]]
        return f"{left}{self.lower:.15g}, {self.upper:.15g}{right}"

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The lower and the upper bound, ``None`` where there is none."""
        lower = None if math.isinf(self.lower) else self.lower
        return lower, None if math.isinf(self.upper) else self.upper


REALS = Interval()


@dataclasses.dataclass(frozen=True)
class Numeric:
    """A column of real numbers in an interval; its likelihood is a density.

    A closed bound that occurs in the data has a probability of its own.
    """

    interval: Interval = REALS

    def __str__(self) -> str:
        return "numeric" if self.interval == REALS else f"numeric {self.interval}"


@dataclasses.dataclass(frozen=True)
class Integer:
    """A column of whole numbers in an interval; its likelihood is a probability."""

    interval: Interval = REALS

    def __str__(self) -> str:
        return "integer" if self.interval == REALS else f"integer {self.interval}"


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A column of words or other labels; its likelihood is a probability.

    Args:
        categories: all categories, in their order; empty for those that occur.
        ordered: whether their order means something.
    """

    categories: tuple[Any, ...] = ()
    ordered: bool = False

    def __str__(self) -> str:
        sign = " < " if self.ordered else ", "
        words = sign.join(map(str, self.categories))
        return f"categorical {words}".strip()


@dataclasses.dataclass(frozen=True)
class Boolean:
    """A column of truth values; its likelihood is a probability."""

    def __str__(self) -> str:
        return "boolean"


@dataclasses.dataclass(frozen=True)
class Constant:
    """A column with one value, which is kept aside and given back; its probability is 1."""

    value: Any = None

    def __str__(self) -> str:
        return f"constant {self.value}"


@dataclasses.dataclass(frozen=True)
class Drop:
    """A column that is left out of the model and of its samples."""

    def __str__(self) -> str:
        return "drop"


Kind = Numeric | Integer | Categorical | Boolean | Constant | Drop

_SYNTAX = (
    "A kind is numeric, integer, categorical, boolean or drop; numbers take an interval, as in "
    "numeric [0, 1) or integer [0, inf), and categories an order, as in categorical low < high"
)


def as_kind(kind: Any) -> Kind:
    """Returns the kind that a text such as ``"numeric (0, inf)"`` describes, or a kind itself.

    Raises:
        ValueError: for another text or object.
    """
    if isinstance(kind, Numeric | Integer | Categorical | Boolean | Drop):
        return kind
    if not isinstance(kind, str):
        raise ValueError(f"{_SYNTAX}; received {kind!r}.")
    word, _, rest = kind.strip().partition(" ")
    # An interval may follow without a space.
    if (found := re.match(r"(numeric|integer)([\[(].*)", kind.strip())) is not None:
        word, rest = found.groups()
    rest = rest.strip()
    if word in ("numeric", "integer"):
        made: type[Numeric] | type[Integer] = Numeric if word == "numeric" else Integer
        return made(_interval(rest, kind)) if rest else made()
    if word == "categorical":
        ordered = "<" in rest
        words = tuple(each.strip() for each in rest.split("<" if ordered else ",")) if rest else ()
        if len(set(words)) != len(words) or "" in words:
            raise ValueError(f"Categories are different words; received {kind!r}.")
        return Categorical(words, ordered)
    if word in ("boolean", "drop") and not rest:
        return Boolean() if word == "boolean" else Drop()
    raise ValueError(f"{_SYNTAX}; received {kind!r}.")


def _interval(text, kind):
    found = re.fullmatch(r"([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])", text)
    try:
        left, lower, upper, right = found.groups()  # type: ignore[union-attr]
        return Interval(float(lower), float(upper), (left == "[", right == "]"))
    except (AttributeError, ValueError):
        raise ValueError(f"{_SYNTAX}; received {kind!r}.") from None
