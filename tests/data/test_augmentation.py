"""Tests shifted, cropped and mirrored training images."""

import numpy as np
import pytest

from iresnet_tf.data import augmentation


@pytest.mark.parametrize("name", ["flip", "shift", "crop", "crop-flip"])
def test_augmented_images_are_windows_of_their_padding(name):
    images = np.random.default_rng(0).normal(size=(12, 6, 5, 2)).astype(np.float32)
    pixels = {"flip": 0, "shift": 2}.get(name, 4)
    sides = (pixels, pixels)
    padded = np.pad(images, [(0, 0), sides, sides, (0, 0)], mode="symmetric")
    found = augmentation.augment(images, name, seed=3, first=0).numpy()
    for image, around in zip(found, padded):
        windows = {
            around[top : top + 6, left : left + 5].tobytes()
            for top in range(around.shape[0] - 5)
            for left in range(around.shape[1] - 4)
        }
        turned = np.ascontiguousarray(image[:, ::-1])
        assert image.tobytes() in windows or ("flip" in name and turned.tobytes() in windows)
    # Windows and sides vary; half of the images that are only mirrored stay as they are.
    changed = {not np.array_equal(a, b) for a, b in zip(found, images)}
    assert True in changed and (name != "flip" or len(changed) == 2)


def test_an_image_s_augmentation_depends_on_its_index_alone():
    images = np.random.default_rng(0).normal(size=(10, 8, 8, 1)).astype(np.float32)
    whole = augmentation.augment(images, "crop-flip", seed=3, first=20).numpy()
    later = augmentation.augment(images[4:], "crop-flip", seed=3, first=24).numpy()
    np.testing.assert_array_equal(whole[4:], later)
    other = augmentation.augment(images, "crop-flip", seed=4, first=20).numpy()
    assert not np.array_equal(whole, other)
