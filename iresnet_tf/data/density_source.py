"""The two-dimensional densities as a data source."""

from typing import Any

import tensorflow as tf

from iresnet_tf.data import densities
from iresnet_tf.data.source import Examples, Source


class DensitySource(Source):
    """An endless stream of points of a density, with a fixed test set.

    Args:
        name: ``"toy-"`` followed by a name of `iresnet_tf.data.densities.NAMES`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, (2,))
        self.density = name.removeprefix("toy-")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(f"toy-{name}" for name in densities.NAMES)

    @classmethod
    def open(cls, name: str, *, data_dir: str | None = None, **options: Any) -> "DensitySource":
        if options:
            raise ValueError(
                f"{name} is an endless stream of points: validation_examples, size, pad_to, bits, "
                f"only_class and table are for other data; received {options}."
            )
        return cls(name)

    def stream(
        self, batch_size: int, *, seed: int, skip: int = 0, augmentation: str | None = None
    ) -> tf.data.Dataset:
        self._require_augmentable(augmentation)
        return densities.stream(self.density, batch_size, seed=seed, skip=skip)

    def examples(self, split: str, count: int | None = None) -> Examples:
        if split != "test":
            raise ValueError(
                f"{self.name} is an endless stream with a fixed test set; received {split!r}."
            )
        return Examples(densities.test_set(self.density)[:count], None)
