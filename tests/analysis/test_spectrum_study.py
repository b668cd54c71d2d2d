"""Compares singular values with those of the operators' matrices."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from study_examples import image_model

from iresnet_tf import layers
from iresnet_tf.analysis import plots, spectrum_study
from iresnet_tf.numerics import maps
from iresnet_tf.numerics.maps.derived import derived


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_singular_values_are_those_of_the_operator_s_matrix(kind, contraction, matrix_of):
    g = contraction(kind)
    for layer in layers.spectral_layers(g):
        shape = layer.vector_shape()[1:]
        operator = derived(layer.bind()).operator
        expected = np.linalg.svd(matrix_of(operator, shape), compute_uv=False)
        found, method = spectrum_study.singular_values(layer)
        assert method in ("matrix", "gram") and len(found) == len(expected)
        np.testing.assert_allclose(found, expected, atol=1e-7)


@keras.saving.register_keras_serializable("test_spectrum_study")
class Diagonal(layers.SpectralLayer):
    """``x ↦ x k̂`` element by element, of a kernel ``[1, features]`` that is no matrix."""

    class Operator(maps.Operator):
        kernel: tf.Tensor

        def __call__(self, v):
            return v * self.kernel[0]

        adjoint = __call__

        def rounding_gain(self):
            return 1.0

    def build(self, input_shape):
        self.add_weights((1, input_shape[-1]))

    def make_operator(self, kernel):
        return self.Operator(kernel)

    def vector_shape(self):
        return (1, self.kernel.shape[-1])

    def certified_spectral_norm(self, kernel):
        return float(np.abs(kernel).max())


def test_any_operator_is_studied_by_its_products(monkeypatch):
    layer = Diagonal(coeff=0.5, dtype="float64")
    layer.build((None, 5))
    layer.kernel.assign([[0.3, -2.0, 0.1, 1.0, 0.0]])
    layer.refresh()
    found, method = spectrum_study.singular_values(layer)
    assert method == "gram"
    np.testing.assert_allclose(found, [0.5, 0.25, 0.075, 0.025, 0.0], atol=1e-7)
    monkeypatch.setattr(spectrum_study, "EXACT_ORDER", 4)
    with pytest.raises(ValueError, match="5 singular values; up to 4"):
        spectrum_study.singular_values(layer)


def test_a_large_convolution_is_bounded_on_the_torus(monkeypatch, matrix_of):
    layer = layers.SpectralConv2D(3, dtype="float64")
    layer.build((None, 6, 5, 2))
    exact, _ = spectrum_study.singular_values(layer)
    monkeypatch.setattr(spectrum_study, "EXACT_ORDER", 10)
    found, method = spectrum_study.singular_values(layer)
    kernel = layer.constrained_kernel().numpy()

    def circular(x):
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="wrap")
        return tf.nn.conv2d(padded, kernel, 1, "VALID")

    expected = np.linalg.svd(matrix_of(circular, (8, 7, 2)), compute_uv=False)
    assert method == "torus" and len(found) == len(exact)
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-10)
    assert np.all(found >= exact - 1e-10)


def test_the_spectrum_says_where_its_figures_are_bounds(monkeypatch):
    model = image_model()
    study = spectrum_study.study_spectrum(model)
    assert {layer.method for layer in study.layers} == {"gram", "matrix"}
    assert len(study.layers) == len(layers.spectral_layers(model))
    for layer in study.layers:
        assert layer.exact and layer.largest == pytest.approx(0.9, rel=1e-4)
    monkeypatch.setattr(spectrum_study, "EXACT_ORDER", 10)
    study = spectrum_study.study_spectrum(model)
    assert not all(layer.exact for layer in study.layers)
    texts = plots.spectrum(study).axes[0].get_legend().get_texts()
    assert "upper bounds (torus)" in [text.get_text() for text in texts]
