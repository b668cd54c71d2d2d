"""Singular values of layers."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from study_examples import image_model

from iresnet_tf import layers
from iresnet_tf.analysis import plots, spectra
from iresnet_tf.numerics import maps


class Scale(maps.Operator):
    """``A v = k v``, elementwise."""

    kernel: tf.Tensor

    def __call__(self, v):
        return self.kernel * v

    def adjoint(self, u):
        return self.kernel * u

    def rounding_gain(self):
        return 1.0


class SpectralScale(layers.SpectralLayer):
    """A layer of one's own, with an operator that the package does not know."""

    event_ndims = 1

    def build(self, input_shape):
        self.add_weights(tuple(input_shape[1:]))

    def make_operator(self, kernel):
        return Scale(kernel)

    def vector_shape(self):
        return (1, *self.kernel.shape)

    def certified_spectral_norm(self, kernel):
        return float(np.abs(kernel).max())


def test_any_spectral_layer_has_the_singular_values_of_its_operator(monkeypatch):
    layer = SpectralScale(coeff=0.5, kernel_initializer="ones", dtype="float64")
    layer.build((None, 4))
    layer.kernel.assign([1.0, -4.0, 2.0, 3.0])
    layer.refresh(1e-9)
    values, method = spectra.singular_values(layer)
    assert method == "gram"
    np.testing.assert_allclose(values, [0.5, 0.375, 0.25, 0.125], rtol=1e-6)
    monkeypatch.setattr(spectra, "EXACT_ORDER", 3)
    values, method = spectra.singular_values(layer)
    assert method == "norm"
    np.testing.assert_allclose(values, np.full(4, 0.5), rtol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_singular_values_are_those_of_the_operator_s_matrix(kind, contraction, matrix_of):
    g = contraction(kind)
    for layer in layers.spectral_layers(g):
        shape = layer.vector_shape()[1:]
        bound = dataclasses.replace(layer.bind(), bias=None)
        expected = np.linalg.svd(matrix_of(bound, shape), compute_uv=False)
        found, method = spectra.singular_values(layer)
        assert method in ("matrix", "gram") and len(found) == len(expected)
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_large_convolution_is_bounded_on_the_torus(monkeypatch, matrix_of):
    layer = layers.SpectralConv2D(3, dtype="float64")
    layer.build((None, 6, 5, 2))
    exact, _ = spectra.singular_values(layer)
    monkeypatch.setattr(spectra, "EXACT_ORDER", 10)
    found, method = spectra.singular_values(layer)
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
    study = spectra.spectrum(model)
    assert {layer.method for layer in study.layers} == {"gram", "matrix"}
    assert len(study.layers) == len(layers.spectral_layers(model))
    for layer in study.layers:
        assert layer.exact and layer.largest == pytest.approx(0.9, rel=1e-4)
    monkeypatch.setattr(spectra, "EXACT_ORDER", 10)
    study = spectra.spectrum(model)
    assert not all(layer.exact for layer in study.layers)
    figure = plots.spectra(study)
    assert "upper bounds (torus)" in [each.get_text() for each in legend_of(figure.axes[0])]


def legend_of(axes):
    return axes.get_legend().get_texts()
