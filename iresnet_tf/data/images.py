"""Image data sets of TensorFlow Datasets, held in memory as they are stored."""

from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

NAMES = {
    "mnist": "mnist",
    "fashion_mnist": "fashion_mnist",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "svhn": "svhn_cropped",
    "imagenet32": "downsampled_imagenet/32x32",
    "imagenet64": "downsampled_imagenet/64x64",
}
"""Our name → TFDS's.  Any other set of images is ``tfds:NAME``."""


class Images(NamedTuple):
    """A split: ``uint8 [n, height, width, channels]`` and int32 classes ``[n]``, or ``None``."""

    x: np.ndarray
    y: np.ndarray


def describe(name, data_dir=None):
    """``(event_shape, classes)`` of a set, from its metadata.

    Raises:
        FileNotFoundError: if the set is not prepared in the folder.
        ValueError: if it has no images of one shape.
    """
    builder = _builder(name, data_dir)
    features = dict(builder.info.features.items())
    image = features.get("image")
    if image is None or len(image.shape) != 3 or None in image.shape or image.dtype != np.uint8:
        found = None if image is None else image.shape
        raise ValueError(
            f"{name} has no 8-bit images of one shape, feature 'image' [height, width, channels]; "
            f"its shape is {found}."
        )
    return tuple(image.shape), getattr(features.get("label"), "num_classes", None)


def load(name, split, data_dir=None):
    """A split as `Images`, in the order of TFDS; ``"test"`` is the held-out one of the set."""
    builder = _builder(name, data_dir)
    if split == "test" and "test" not in builder.info.splits:
        split = "validation"
    dataset = builder.as_dataset(split=split, batch_size=-1, shuffle_files=False)
    examples = tfds.as_numpy(dataset)
    y = examples.get("label")
    return Images(examples["image"], None if y is None else y.astype(np.int32))


def _builder(name, data_dir):
    full_name = NAMES.get(name, name.removeprefix("tfds:"))
    try:
        builder = tfds.builder(full_name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"TensorFlow Datasets has no set {full_name!r}: {error}") from None
    if not builder.is_prepared():
        raise FileNotFoundError(
            f"{full_name} is not prepared in {builder.data_path.parent.parent}. Prepare it where "
            f"there is a network, `tfds build {full_name} --data_dir DIR`, and give that folder by "
            "--data-dir or TFDS_DATA_DIR."
        )
    return builder
