"""Tests paths in latent space."""

import numpy as np
import pytest
from study_examples import POINTS, image_model, images, linear_model

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.analysis import (
    interpolation,
    plots,
)
from iresnet_tf.models import architectures


def test_paths_begin_and_end_at_the_data():
    model, x = image_model(), images(4)
    for spherical in (False, True):
        study = irn.analysis.interpolate(model, x[:2], x[2:], steps=3, spherical=spherical)
        assert study.max_abs_error < 1e-3
    with pytest.raises(ValueError, match="at least two steps"):
        irn.analysis.interpolate(model, x[:2], x[2:], steps=1)
    with pytest.raises(ValueError, match="one shape"):
        irn.analysis.interpolate(model, x[:1], x[2:])
    with pytest.raises(ValueError, match="points of the plane"):
        irn.analysis.interpolate(model, np.zeros((2, 5)), np.zeros((2, 5)))


def test_many_paths_are_decoded_a_few_at_a_time(monkeypatch):
    model = linear_model([[0.5, 0.0], [0.0, 0.5]])
    monkeypatch.setattr(interpolation, "_BATCH", 5)
    decode_paths, sizes = model.decode_paths, []

    def recorded(latents):
        sizes.append(len(latents))
        return decode_paths(latents)

    monkeypatch.setattr(model, "decode_paths", recorded)
    paths = irn.analysis.interpolate(model, POINTS[:3], POINTS[3:6], steps=2)
    assert sizes == [2, 1]
    np.testing.assert_allclose(paths.points, np.stack([POINTS[:3], POINTS[3:6]], 1), atol=1e-5)


@pytest.mark.parametrize("spherical", [False, True])
def test_the_middle_of_a_path_is_that_of_the_latents(spherical):
    c = 0.5
    model = linear_model([[c, 0.0], [0.0, c]])
    first, second = np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]])
    paths = irn.analysis.interpolate(model, first, second, steps=3, spherical=spherical)
    # The latents are multiples of the data, and at a right angle.
    middle = np.sqrt(2.0) if spherical else 1.0
    expected = [[[2.0, 0.0], [middle, middle], [0.0, 2.0]]]
    np.testing.assert_allclose(paths.points, expected, atol=1e-5)
    assert len(plots.interpolation(paths).axes) == 1


def test_images_without_noise_are_shown_at_the_levels_that_they_have():
    preprocessing = [layers.Standardize(8.0, 5.0)]
    model = irn.models.Classifier(
        architectures.image_flow((1,), 4, padding=3), 2, preprocessing=preprocessing
    )
    model.build((None, 8, 8, 1))
    x = np.tile(np.arange(16.0, dtype=np.float32), 16).reshape(4, 8, 8, 1)
    assert irn.analysis.interpolate(model, x[:2], x[2:]).levels == 16
    assert irn.analysis.interpolate(model, x[:2], x[2:], levels=17).levels == 17
