"""Makes the 1,797 handwritten digits of scikit-learn a TFDS data set, without a network.

An image is 8×8×1, ``uint8``, with the 17 levels 0, …, 16; a label is 0, …, 9.  With
``order = RandomState(0).permutation(1797)`` the splits are ``test = order[:359]`` and
``train = order[359:]``, stored and read in that order.
"""

import contextlib
import os
import pathlib
import random
import sys
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from iresnet_tf.data.damage import DamagedSetError, damage_explained, folder_of_sets

SHAPE, LEVELS = (8, 8, 1), 17
_TEST_EXAMPLES = 359

_DESCRIPTION = """\
Grey-scale handwritten digits of 8x8 pixels: the part of the UCI optical digits that scikit-learn
carries. A pixel counts the inked dots, 0 to 16, in one 4x4 cell of a 32x32 bitmap. The split into
1,438 training and 359 test images is a fixed permutation.
"""

_CITATION = """\
@misc{alpaydin1998optical,
  author = {Alpaydin, Ethem and Kaynak, Cenk},
  title = {Optical Recognition of Handwritten Digits},
  publisher = {UCI Machine Learning Repository},
  year = {1998},
  doi = {10.24432/C50P49},
}
"""

_HOMEPAGE = "https://scikit-learn.org/stable/datasets/toy_dataset.html#digits-dataset"


class Digits(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder ``digits``, with splits ``train`` (1,438) and ``test`` (359).

    The features are ``image`` ``[8, 8, 1]`` uint8 in 0, …, 16 and ``label`` int64 in 0, …, 9.
    After an import of this module, ``tfds.load("digits")`` finds the builder.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=SHAPE, dtype=np.uint8),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=_HOMEPAGE,
            citation=_CITATION,
            disable_shuffling=True,  # The files keep the order of the permutation.
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        del dl_manager  # Nothing is downloaded.
        from sklearn import datasets  # the package imports without scikit-learn

        digits = datasets.load_digits()
        order = np.random.RandomState(0).permutation(len(digits.target))
        return {
            "train": self._generate_examples(digits, order[_TEST_EXAMPLES:]),
            "test": self._generate_examples(digits, order[:_TEST_EXAMPLES]),
        }

    def _generate_examples(self, digits, indices: np.ndarray) -> Iterator[tuple[int, dict]]:
        for position, index in enumerate(indices):
            image = digits.images[index].astype(np.uint8)[..., np.newaxis]
            yield position, {"image": image, "label": int(digits.target[index])}


def load(
    split: str, data_dir: str | os.PathLike[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels of a split; prepares the data set on first use.

    Args:
        split: ``"train"``, ``"test"`` or a TFDS expression such as ``"train[:100]"``.
        data_dir: folder of the TFDS data sets; ``None`` is the default folder of TFDS.

    Raises:
        ValueError: for an unknown split.
        DamagedSetError: if the folder of the data set exists but holds no complete data set.
    """
    builder = _prepared(data_dir)
    try:
        builder.info.splits[split]
    except (KeyError, ValueError):
        raise ValueError(f"A split of the digits is train or test; received {split!r}.") from None
    with damage_explained("digits", builder.data_path):
        dataset = builder.as_dataset(split=split, batch_size=-1, shuffle_files=False)
        examples = tfds.as_numpy(dataset)
    return examples["image"], examples["label"]


def _prepared(data_dir: str | os.PathLike[str] | None) -> Digits:
    """Returns a builder whose files exist; writes them, unless another process does so first.

    TFDS writes to a temporary folder and renames it, so the folder is complete or absent.  If
    several processes write at the same time, all but the first fail to rename their folder and use
    the first one's.  TFDS's reports go to standard error, because standard output is for results.
    """
    builder = _opened(data_dir)
    if not builder.data_path.exists():
        configuration = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            with _separate_random_state(), contextlib.redirect_stdout(sys.stderr):
                builder.download_and_prepare(download_config=configuration)
        except Exception:
            if not builder.is_prepared():
                raise
    # A new builder reads the files that another process may have written.
    builder = _opened(data_dir)
    if not builder.is_prepared() or not builder.info.splits:
        raise DamagedSetError(
            f"{builder.data_path} exists but holds no complete data set. Remove it and try again."
        )
    return builder


def _opened(data_dir):
    with damage_explained("digits", pathlib.Path(folder_of_sets(data_dir), "digits")):
        return Digits(data_dir=data_dir)


@contextlib.contextmanager
def _separate_random_state() -> Iterator[None]:
    """Seeds Python's ``random`` from the system, and restores its state afterwards.

    TFDS names its temporary folder by ``random``: workers with equal seeds would share a folder,
    and preparing the data would change later draws of a seeded program.
    """
    state = random.getstate()
    random.seed()
    try:
        yield
    finally:
        random.setstate(state)
