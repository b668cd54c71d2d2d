"""Reads image sets of TensorFlow Datasets as arrays, in memory or mapped from disk."""

import sys

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from iresnet_tf.data.damage import DamagedSetError, damage_explained, first_line, folder_of_sets
from iresnet_tf.data.source import Examples
from iresnet_tf.files import written_whole

NAMES = {
    "mnist": "mnist",
    "fashion_mnist": "fashion_mnist",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "svhn": "svhn_cropped",
    "imagenet32": "downsampled_imagenet/32x32",
    "imagenet64": "downsampled_imagenet/64x64",
    "celeb_a": "celeb_a",
}
"""Names of this package, with those of TFDS.  Any other set of images is named ``tfds:NAME``."""

CELEB_A_CROP, CELEB_A_SIZE = 148, 64
"""Side of the square that is cut from a CelebA picture, and the side to which it is shrunk."""

IN_MEMORY = 4 * 2**30
"""Largest number of bytes of a split that is held in memory."""

_UNKNOWN = (tfds.core.DatasetNotFoundError, ValueError, AssertionError, ImportError)


class ImageSet:
    """The images of a TFDS set, which is prepared, and possibly downloaded, on first use.

    Args:
        name: a key of `NAMES`, or ``tfds:NAME``.
        data_dir: folder of the TFDS data sets; ``None`` is the default folder of TFDS.
        size: side to which the central square of every image is resized.  By default only the
            images of CelebA are resized, from 148 × 148 to 64 × 64.

    Attributes:
        shape: shape of one image.
        classes: number of classes, ``None`` for a set without classes.

    Raises:
        FileNotFoundError: if the set is not in the folder and cannot be downloaded.
        ValueError: if TFDS does not have the set, or the set has no 8-bit images of one shape.
        DamagedSetError: if its files are damaged.
    """

    def __init__(self, name: str, data_dir: str | None = None, *, size: int | None = None) -> None:
        self._builder = _prepared(NAMES.get(name, name.removeprefix("tfds:")), data_dir)
        is_celeb_a = self._builder.name == "celeb_a"
        self._crop = CELEB_A_CROP if is_celeb_a else None
        self._size = CELEB_A_SIZE if is_celeb_a and size is None else size
        features = dict(self._builder.info.features.items())
        self.shape: tuple[int, ...] = self._shape_of(name, features.get("image"))
        self.classes: int | None = getattr(features.get("label"), "num_classes", None)

    def _shape_of(self, name, feature):
        stored = None if feature is None else tuple(feature.shape)
        if stored is None or len(stored) != 3 or feature.np_dtype != np.uint8 or stored[2] is None:
            raise ValueError(
                f"{name} has no 8-bit images, a feature 'image' of shape [height, width, "
                f"channels]; the shape of its feature is {stored}."
            )
        if self._size is not None:
            return (self._size, self._size, stored[2])
        if None in stored:
            raise ValueError(
                f"The images of {name} have several shapes, {stored}. Resize them to one: "
                "data.size=64."
            )
        return stored

    def load(self, split: str) -> Examples:
        """Returns the images, ``uint8``, of ``"train"`` or ``"test"``, in the order of TFDS.

        For sets without a test split, ``"test"`` is the validation split.  A split of more than
        `IN_MEMORY` bytes is written once to the folder of the set, resized, and mapped from there.

        Raises:
            DamagedSetError: if the files of the set are damaged.
        """
        with damage_explained(self._builder.info.full_name, self._builder.data_path):
            return self._loaded(split)

    def _loaded(self, split):
        splits = self._builder.info.splits
        split = "validation" if split == "test" and "test" not in splits else split
        shape = (splits[split].num_examples, *self.shape)
        if np.prod(shape, dtype=np.int64) <= IN_MEMORY:
            x = np.empty(shape, np.uint8)
            y = self._fill(x, split)
        else:
            folder, suffix = self._builder.data_path, "-".join(map(str, (split, *self.shape)))
            x_file, y_file = (folder / f"iresnet_tf-{part}-{suffix}.npy" for part in "xy")
            if not x_file.exists():
                self._write(x_file, y_file, shape, split)
            x, y = np.load(x_file, mmap_mode="r"), np.load(y_file)
        return Examples(x, None if self.classes is None else y)

    def _write(self, x_file, y_file, shape, split):
        print(f"Writing {x_file}, to be mapped …", file=sys.stderr)
        # The classes are renamed first, so the images exist only if both do.
        with written_whole(x_file) as new_x, written_whole(y_file) as new_y:
            x = np.lib.format.open_memmap(new_x, "w+", np.uint8, shape)
            y = self._fill(x, split)
            x.flush()
            np.save(new_y, y)

    def _fill(self, x, split, at_once=256):
        """Writes the images to ``x`` and returns their classes; zeros if they have none."""

        def image_and_label(example):
            label = tf.constant(0) if self.classes is None else tf.cast(example["label"], tf.int32)
            return self._resized(example["image"]), label

        dataset = self._builder.as_dataset(split=split, shuffle_files=False)
        dataset = dataset.map(image_and_label, tf.data.AUTOTUNE, deterministic=True)
        dataset = dataset.batch(at_once).prefetch(2)
        y, done = [np.empty(0, np.int32)], 0
        for images, labels in dataset.as_numpy_iterator():
            x[done : done + len(images)] = images
            y.append(labels)
            done += len(images)
        if done != len(x):
            raise ValueError(f"only {done} of the {len(x)} images of the split {split} were there")
        return np.concatenate(y)

    def _resized(self, image):
        if self._size is None:
            return image
        side = self._crop or tf.reduce_min(tf.shape(image)[:2])
        image = tf.image.resize_with_crop_or_pad(image, side, side)
        image = tf.image.resize(image, [self._size, self._size], antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)


def _prepared(full_name, data_dir):
    try:
        with damage_explained(full_name, folder_of_sets(data_dir)):
            builder = tfds.builder(full_name, data_dir=data_dir)
            is_prepared = builder.is_prepared() and bool(builder.info.splits)
    except (DamagedSetError, OSError) as error:
        # TFDS raises these for names that it does not have, and other errors for damaged files.
        reason = error.__cause__ or error
        if not isinstance(reason, _UNKNOWN):
            raise
        raise ValueError(
            f"TensorFlow Datasets has no set {full_name!r} ({first_line(reason)}). "
            "A name is tfds:SET, tfds:SET/CONFIGURATION or tfds:SET:VERSION."
        ) from None
    if is_prepared:
        return builder
    folder = builder.data_path.parent.parent
    print(
        f"{full_name} is not in {folder}: TensorFlow Datasets prepares it there. Without a network "
        "this fails, perhaps only after minutes.",
        file=sys.stderr,
    )
    try:
        builder.download_and_prepare()
    except Exception as error:  # TFDS raises errors of many types.
        raise FileNotFoundError(
            f"{full_name} is not prepared in {folder}, and preparing it failed "
            f"({type(error).__name__}: {first_line(error)}). Prepare it on a machine with a "
            f"network, `tfds build {full_name} --data_dir DIR`, and give that folder by "
            "--data-dir or TFDS_DATA_DIR."
        ) from error
    return builder
