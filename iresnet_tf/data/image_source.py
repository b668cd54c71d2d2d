"""The source of images: scikit-learn's digits, and the image sets of TensorFlow Datasets."""

import functools
import os

import numpy as np
import tensorflow as tf

from iresnet_tf.data import digits, images
from iresnet_tf.data.source import SPLITS, Source, shuffled


class ImageSource(Source):
    """Labelled or unlabelled images, perhaps padded, of fewer bits, or of one class.

    Args:
        name: ``"digits"``, a key of `images.NAMES`, or ``tfds:NAME``.
        data_dir: the TFDS directory; TFDS's own default if ``None``.
        validation_examples: number of examples, the last of the training split, that are held
            out of the stream.
        size: the central square of every image is resized to ``size × size``.
        pad_to: side of the square that smaller images are centred on, with zeros around them.
        bits: number of bits of a pixel that are kept.
        only_class: the class whose examples alone are kept.

    Raises:
        ValueError: for an option that the images do not allow.
        FileNotFoundError: for a TFDS set that is not prepared and cannot be downloaded.
    """

    def __init__(
        self,
        name: str,
        *,
        data_dir: str | os.PathLike | None = None,
        validation_examples: int = 0,
        size: int | None = None,
        pad_to: int | None = None,
        bits: int | None = None,
        only_class: int | None = None,
    ) -> None:
        self.name, self.validation_examples = name, validation_examples
        if name == "digits":
            if size:
                raise ValueError(
                    f"size resizes images of TFDS sets; digits are 8×8, received {size}."
                )
            self._load = functools.partial(digits.load, data_dir=data_dir)
            shape, self.levels, self.classes = (8, 8, 1), digits.LEVELS, 10
        else:
            image_set = images.ImageSet(name, data_dir, size)
            self._load, self.levels = image_set.load, 256
            shape, self.classes = image_set.shape, image_set.classes
        self._margins = [(0, 0), *_margins(shape, pad_to), (0, 0)]
        self.event_shape = tuple(
            length + sum(margin) for length, margin in zip(shape, self._margins[1:])
        )
        if bits is not None and self.levels != 256:
            raise ValueError(f"bits is for 8-bit images; {name} has {self.levels} levels.")
        if only_class is not None and not 0 <= only_class < (self.classes or 0):
            raise ValueError(
                f"{name} has {self.classes or 'no'} classes; received only_class={only_class}."
            )
        self._only_class, self._dropped_bits = only_class, 0 if bits is None else 8 - bits
        self.levels = self.levels if bits is None else 2**bits
        # The images as they are stored, uint8, perhaps mapped from disk.
        self._stored = functools.cache(self._read)

    def stream(
        self, batch_size: int, *, seed: int, skip: int = 0, augmentation: str | None = None
    ) -> tf.data.Dataset:
        x, y = self._part("train")
        options = {"skip": skip, "augmentation": augmentation, "as_float": self._as_float}
        return shuffled(x, y, batch_size, seed=seed, **options)

    def examples(
        self, split: str, count: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        x, y = self._part(split)
        return self._as_float(x[:count]), None if y is None else y[:count]

    def _read(self, split):
        x, y = self._load(split)
        kept = slice(None) if self._only_class is None else y == self._only_class
        return x[kept], None if y is None else y[kept].astype(np.int32)

    def _part(self, split):
        if split not in SPLITS:
            raise ValueError(f"A split is one of {SPLITS}; received {split!r}.")
        x, y = self._stored("test" if split == "test" else "train")
        if split == "validation" and not self.validation_examples:
            raise ValueError("No examples are held out for validation: see validation_examples.")
        if not self.validation_examples < len(x):
            raise ValueError(
                f"{self.name} has {len(x)} examples; received "
                f"validation_examples={self.validation_examples}."
            )
        last = len(x) - self.validation_examples
        cut = {"train": slice(last), "validation": slice(last, None), "test": slice(None)}[split]
        return x[cut], None if y is None else y[cut]

    def _as_float(self, x):
        padded = np.pad(x, self._margins) if np.any(self._margins) else x
        return (padded >> self._dropped_bits).astype(np.float32)


def _margins(shape, side):
    """Returns the numbers of zeros before and after the rows, and the columns, of an image."""
    if side is None:
        return [(0, 0), (0, 0)]
    if side < max(shape[:2]):
        raise ValueError(
            f"pad_to is at least the size of the images, {shape[:2]}; received {side}."
        )
    return [((side - n) // 2, side - n - (side - n) // 2) for n in shape[:2]]
