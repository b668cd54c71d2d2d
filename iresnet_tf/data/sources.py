"""Finds data sources by name."""

import os
from typing import Any

from iresnet_tf.data.conditional_table import ConditionalTable
from iresnet_tf.data.density_source import DensitySource
from iresnet_tf.data.image_source import ImageSource
from iresnet_tf.data.mixed_table_source import MixedTableSource
from iresnet_tf.data.picture_source import PictureSource
from iresnet_tf.data.source import Source
from iresnet_tf.data.table_source import TableSource

_KINDS: list[type[Source]] = [
    DensitySource,
    ImageSource,
    PictureSource,
    TableSource,
    ConditionalTable,
    MixedTableSource,
]


def register(kind: type[Source]) -> type[Source]:
    """Lets `get`, and so every preset, find the sources of a class by their names.

    Use it as a decorator of a subclass of `Source` that has `Source.names` and `Source.open`.
    If classes share a name, the class that was registered last is used.
    """
    _KINDS.insert(0, kind)
    return kind


def names() -> tuple[str, ...]:
    """Returns the names of all sources, to which ``tfds:NAME`` adds any TFDS set of images."""
    return tuple(name for kind in _KINDS for name in kind.names())


def get(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    validation_examples: int = 0,
    size: int | None = None,
    pad_to: int | None = None,
    bits: int | None = None,
    only_class: int | None = None,
    table: dict[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    npz: str | os.PathLike[str] | None = None,
    channels: int | None = None,
    test_fraction: float | None = None,
    split_seed: int | None = None,
    sha256: str | None = None,
    context: tuple[str, ...] = (),
) -> Source:
    """Returns the source of that name.

    Args:
        name: one of `names`, or ``tfds:NAME``.
        data_dir: folder of the TFDS data sets; ``None`` is the default folder of TFDS.
        validation_examples: number of examples at the end of the training split that are held out.
        size: side to which the central square of every image is resized.
        pad_to: side of the grid on which smaller images are centred, with zeros around them.
        bits: number of bits of a pixel that are kept.
        only_class: a class; only its examples are kept.
        table: for ``"table"``, the arguments of `iresnet_tf.data.table_source.TableSource`; for
            ``"mixed-table"``, those of `MixedTableSource`, where ``file`` is the table.
        context: for ``"conditional-table"``, the names of the columns that are given.
        folder: for ``"images"``, a folder of pictures, see `iresnet_tf.data.image_folder`.
        npz: for ``"images"``, a file of arrays, see `iresnet_tf.data.image_file`.
        channels, test_fraction, split_seed, sha256: for ``"images"``, see these functions.

    Raises:
        ValueError: for an unknown name, or an option that the data do not allow.
        FileNotFoundError: for a TFDS set that is not prepared and cannot be downloaded, or a
            table that does not exist.
    """
    kind = next((kind for kind in _KINDS if kind.has(name)), None)
    if kind is None:
        raise ValueError(
            f"The data set is one of {list(names())}, or tfds:NAME; received {name!r}. Pass your "
            "own source as training.train(…, source=source), or register its class with "
            "iresnet_tf.data.register."
        )
    if context and "conditional-table" not in kind.names():
        raise ValueError(
            f"Context columns are for a conditional density of a table, the preset conditional; "
            f"{name} takes none; received {', '.join(context)}."
        )
    options: dict[str, Any] = {"size": size, "pad_to": pad_to, "bits": bits, "table": table}
    options |= {"only_class": only_class, "validation_examples": validation_examples or None}
    options |= {"folder": folder, "npz": npz, "channels": channels, "sha256": sha256}
    options |= {"test_fraction": test_fraction, "split_seed": split_seed}
    options["context"] = context or None
    given = {option: value for option, value in options.items() if value is not None}
    return kind.open(name, data_dir=None if data_dir is None else os.fspath(data_dir), **given)
