"""The sources of data, by name."""

import os
from collections.abc import Callable
from typing import Any

from iresnet_tf.data import densities, images
from iresnet_tf.data.image_source import ImageSource
from iresnet_tf.data.source import Source
from iresnet_tf.data.vector_sources import TableRows, Toy

_REGISTERED: dict[str, Callable[..., Source]] = {}


def names() -> tuple[str, ...]:
    """Returns the name of every source; ``tfds:NAME`` is any TFDS set of images besides."""
    toys = (f"toy-{name}" for name in densities.NAMES)
    return (*toys, "digits", *images.NAMES, *_REGISTERED)


def register(name: str, factory: Callable[..., Source]) -> None:
    """Makes a source of your own known to presets by its name.

    Args:
        name: the name, as in ``data.name`` of a preset.
        factory: a `Source` class or another function; called with the keywords ``data_dir`` and
            ``validation_examples``, it returns a `Source`.

    Raises:
        ValueError: if a source of that name exists.
    """
    if name in (*names(), "table") and _REGISTERED.get(name) is not factory:
        raise ValueError(f"There is a source {name!r} already. Choose another name.")
    _REGISTERED[name] = factory


def get(
    name: str,
    data_dir: str | os.PathLike | None = None,
    validation_examples: int = 0,
    *,
    table: dict[str, Any] | None = None,
    **image_options: Any,
) -> Source:
    """Returns the source of that name.

    Args:
        name: one of `names`, ``tfds:NAME``, or ``table``.
        data_dir: the TFDS directory; TFDS's own default if ``None``.
        validation_examples: number of examples that are held out of the stream.
        table: for a table, the arguments of `TableRows`.
        **image_options: for images, ``size``, ``pad_to``, ``bits`` and ``only_class`` of
            `ImageSource`; ``None`` for those that are not used.

    Raises:
        ValueError: for an unknown name, or an option that the data do not allow.
        FileNotFoundError: for a TFDS set that is not prepared and cannot be downloaded.
    """
    given = {option: value for option, value in image_options.items() if value is not None}
    if name in (*images.NAMES, "digits") or name.startswith("tfds:"):
        options = {"data_dir": data_dir, "validation_examples": validation_examples, **given}
        return ImageSource(name, **options)
    if given:
        raise ValueError(f"{', '.join(given)} are for images; {name} has none.")
    if name == "table":
        return TableRows(**table or {}, validation_examples=validation_examples)
    if name in _REGISTERED:
        return _REGISTERED[name](data_dir=data_dir, validation_examples=validation_examples)
    if name.removeprefix("toy-") not in densities.NAMES or not name.startswith("toy-"):
        raise ValueError(
            f"The data set is one of {list(names())}, or tfds:NAME; received {name!r}."
        )
    if validation_examples:
        raise ValueError(
            f"{name} is an endless stream of points: it has no validation_examples; received "
            f"{validation_examples}."
        )
    return Toy(name)
