"""Makes images a data source: the digits, and the image sets of TensorFlow Datasets."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from iresnet_tf.data import digits, images
from iresnet_tf.data.source import Examples, StoredSource


class ImageSource(StoredSource):
    """The source of images ``[height, width, channels]`` of a number of levels, and their classes.

    Args:
        name: name of the data set.
        load: function that returns, for ``"train"`` or ``"test"``, images ``uint8 [n, …]`` and
            classes ``[n]`` or ``None``.
        shape: shape of one image.
        levels: number of levels.
        classes: number of classes, ``None`` for images without classes.
        validation_examples, pad_to, bits, only_class: see `iresnet_tf.data.get`; ``bits`` is for
            images of 256 levels.

    Raises:
        ValueError: for an option that the images do not allow.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[str], tuple[np.ndarray, np.ndarray | None]],
        shape: tuple[int, ...],
        *,
        levels: int = 256,
        classes: int | None = None,
        validation_examples: int = 0,
        pad_to: int | None = None,
        bits: int | None = None,
        only_class: int | None = None,
    ) -> None:
        if pad_to is not None and pad_to < max(shape[:2]):
            raise ValueError(
                f"pad_to is at least the size of the images, {shape[:2]}; received {pad_to}."
            )
        if bits is not None and levels != 256:
            raise ValueError(f"bits is for 8-bit images; {name} has {levels} levels.")
        if only_class is not None and not 0 <= only_class < (classes or 0):
            raise ValueError(
                f"{name} has {classes or 'no'} classes; received only_class={only_class}."
            )
        around = [(0, 0)] * 3
        if pad_to is not None:
            # An odd difference puts one more row or column of zeros at the end.
            around[:2] = [((pad_to - n) // 2, (pad_to - n + 1) // 2) for n in shape[:2]]
        padded = tuple(length + sum(zeros) for length, zeros in zip(shape, around))
        levels = levels if bits is None else 2**bits
        super().__init__(name, padded, levels=levels, classes=classes)

        @functools.cache
        def kept(split):
            x, y = load(split)
            chosen = slice(None) if only_class is None else y == only_class
            return x[chosen], None if y is None else y[chosen].astype(np.int32)

        self._kept, self._around = kept, around
        self._dropped_bits = 0 if bits is None else 8 - bits
        self._validation_examples = validation_examples

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return ("digits", *images.NAMES)

    @classmethod
    def has(cls, name: str) -> bool:
        return name in cls.names() or name.startswith("tfds:")

    @classmethod
    def open(cls, name: str, *, data_dir: str | None = None, **options: Any) -> "ImageSource":
        size = options.pop("size", None)
        if options.pop("table", None) is not None:
            raise ValueError(
                "The option table is for the sources table, mixed-table and conditional-table, "
                f"not for {name}. Leave it out."
            )
        own = options.keys() - {"validation_examples", "pad_to", "bits", "only_class"}
        if own:
            raise ValueError(
                f"{', '.join(sorted(own))} of the data is for your own pictures, the source named "
                f"images, not for {name}."
            )
        if name != "digits":
            image_set = images.ImageSet(name, data_dir, size=size)
            facts = {"classes": image_set.classes, **options}
            return cls(name, image_set.load, image_set.shape, **facts)
        if size is not None:
            raise ValueError(f"size resizes images of TFDS sets; digits are 8×8, received {size}.")
        load = functools.partial(digits.load, data_dir=data_dir)
        return cls(name, load, digits.SHAPE, levels=digits.LEVELS, classes=10, **options)

    def stored(self, split: str) -> Examples:
        if split == "test":
            return Examples(*self._kept("test"))
        x, y = self._kept("train")
        if split == "validation" and not self._validation_examples:
            raise ValueError(
                "No examples are held out for validation. Set data.validation_examples above 0."
            )
        if self._validation_examples >= len(x):
            raise ValueError(
                f"{self.name} has {len(x)} training examples, too few to hold out "
                f"validation_examples={self._validation_examples}. Hold out fewer."
            )
        last = len(x) - self._validation_examples
        part = slice(last) if split == "train" else slice(last, None)
        return Examples(x[part], None if y is None else y[part])

    def decoded(self, x: np.ndarray, seed: Sequence[int]) -> np.ndarray:
        x = np.pad(x, [(0, 0), *self._around]) if any(map(any, self._around)) else x
        return (x >> self._dropped_bits).astype(np.float32)
