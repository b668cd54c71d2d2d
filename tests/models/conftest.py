"""Provides the fixtures that several tests of models share."""

import keras
import pytest
from density_examples import fit, image_model, images, vector_model, vectors


@pytest.fixture(scope="session")
def trained():
    """Returns a vector and an image model after some epochs, and their histories."""
    keras.utils.set_random_seed(0)
    vector, image = vector_model(), image_model()
    return {
        "vector": (vector, fit(vector, vectors(), epochs=20)),
        "image": (image, fit(image, images(), epochs=12, validation_data=images(9))),
    }
