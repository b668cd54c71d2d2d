"""The studies: spectra, estimators, inverses, interpolation."""

import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.analysis import inverse_study, log_det_study, spectrum
from iresnet_tf.analysis.clones import copied
from iresnet_tf.analysis.interpolation import interpolate
from iresnet_tf.cli import main
from iresnet_tf.models import architectures
from iresnet_tf.training import presets
from iresnet_tf.training import train as training

PNG = b"\x89PNG\r\n\x1a\n"


def image_model(grid=(8, 8), channels=1, **options):
    flow = architectures.image_flow((1, 1), 6, activation="elu", factor_out=True, **options)
    preprocessing = [layers.Dequantize(16), layers.Center()]
    model = irn.models.DensityModel(flow, preprocessing=preprocessing, seed=0)
    model.build((None, *grid, channels))
    random = np.random.default_rng(0)
    for layer in layers.spectral_layers(model):
        layer.kernel.assign(random.normal(size=layer.kernel.shape))
    layers.refresh(model, 1e-6)
    return model


def images(count=4, grid=(8, 8), channels=1):
    return np.random.default_rng(1).integers(0, 16, (count, *grid, channels)).astype(np.float32)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_singular_values_are_those_of_the_operator_s_matrix(kind, contraction, matrix_of):
    g = contraction(kind)
    for layer in layers.spectral_layers(g):
        shape = layer.vector_shape()[1:]
        bound = layer.bind()._replace(bias=None)
        expected = np.linalg.svd(matrix_of(bound, shape), compute_uv=False)
        found, exact = spectrum.singular_values(layer)
        assert exact and len(found) == len(expected)
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_large_convolution_is_taken_on_the_torus(monkeypatch, matrix_of):
    layer = layers.SpectralConv2D(3, dtype="float64")
    layer.build((None, 6, 5, 2))
    monkeypatch.setattr(spectrum, "EXACT_ORDER", 10)
    found, exact = spectrum.singular_values(layer)
    kernel = layer.constrained_kernel().numpy()

    def circular(x):
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="wrap")
        return tf.nn.conv2d(padded, kernel, 1, "VALID")

    expected = np.linalg.svd(matrix_of(circular, (6, 5, 2)), compute_uv=False)
    assert not exact
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("grid", [(8, 8), (16, 20)])
def test_the_bias_of_the_series_lies_within_its_bound(grid):
    _, numbers = log_det_study.log_det_study(image_model(grid), images(3, grid), draws=30)
    assert numbers["dimension"] == 64
    for row in numbers["estimates"]:
        assert abs(row["bias"]) <= row["truncation_bound"] + 4.0 * row["standard_error"]
    noise = {(row["terms"], row["probes"]): row["noise"] for row in numbers["estimates"]}
    assert noise[5, 10] == pytest.approx(noise[5, 1] / np.sqrt(10.0), rel=0.35)


def test_a_copy_on_another_grid_has_the_same_kernels():
    model = image_model((12, 16))
    copy = copied(model.flow, (8, 8, 1))
    for one, other in zip(layers.spectral_layers(copy), layers.spectral_layers(model), strict=True):
        np.testing.assert_array_equal(one.kernel, other.kernel)
        assert not one.is_stale(1e-5)
    assert copy(images()).shape == (4, 64)


def test_the_inverse_converges_as_its_coefficient_says():
    figure, numbers = inverse_study.inverse_study(image_model(), images())
    error = {curve["name"]: curve["error"] for curve in numbers["curves"]}
    last = inverse_study.ITERATIONS[-1]
    # A block contracts by c³ a step at least: three layers.
    for coefficient in (0.5, 0.7, 0.9):
        start, end = error[f"c = {coefficient}"][0], error[f"c = {coefficient}"][-1]
        assert end <= max(1e-3, 100.0 * start * coefficient ** (3 * last))
    assert error["no constraint (norm 2)"][-1] > 1.0
    assert error["trained, Anderson"][-1] < 1e-3
    # The model itself is left as it was.
    assert len(figure.axes) == 1


def test_a_study_leaves_the_model_alone():
    model, x = image_model(), images()
    before = [weight.numpy() for weight in model.weights]
    inverse_study.inverse_study(model, x)
    log_det_study.log_det_study(model, x, draws=2)
    for one, other in zip(before, model.weights):
        np.testing.assert_array_equal(one, other)
    assert {layer.coeff for layer in layers.spectral_layers(model)} == {0.9}


def test_paths_begin_and_end_at_the_data():
    model, x = image_model(), images(4)
    figure, numbers = interpolate(model, x[:2], x[2:], steps=3)
    assert numbers["max_abs_error"] < 1e-3
    with pytest.raises(ValueError, match="at least two steps"):
        interpolate(model, x[:2], x[2:], steps=1)
    with pytest.raises(ValueError, match="one shape"):
        interpolate(model, x[:1], x[2:])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small runs: points, and digits classified."""
    folder = tmp_path_factory.mktemp("runs")
    points = ["model.blocks=2", "model.width=8", "model.depth=1", "intra_op_threads=none"]
    toy = presets.get("toy-moons", points).with_length(steps=2)
    training.train(toy, folder / "toy")
    classifier = presets.get(
        "digits-classifier", ["model.blocks=1,1", "model.width=4", "intra_op_threads=none"]
    )
    training.train(classifier.with_length(steps=2), folder / "classifier", data_dir=folder / "tfds")
    return folder


@pytest.mark.parametrize(
    "run, command",
    [
        ("toy", ["analyze", "spectrum"]),
        ("toy", ["analyze", "log-det"]),
        ("toy", ["analyze", "inverse"]),
        ("toy", ["interpolate"]),
        ("classifier", ["analyze", "spectrum"]),
        ("classifier", ["analyze", "inverse"]),
        ("classifier", ["interpolate"]),
        ("classifier", ["reconstruct"]),
    ],
)
def test_each_mode_writes_a_picture_and_its_numbers(run, command, runs, tmp_path):
    name, *study = command
    picture = tmp_path / "picture.png"
    arguments = [name, runs / run, *study, "--out", picture, "--data-dir", runs / "tfds"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    assert picture.read_bytes()[:8] == PNG
    if study:
        assert json.loads(picture.with_suffix(".json").read_text())
    again = CliRunner().invoke(main, [str(each) for each in arguments])
    assert again.exit_code != 0 and "exists" in again.output


@pytest.mark.parametrize(
    "command, message",
    [(["sample"], "no density"), (["analyze", "log-det"], "no log-determinant")],
)
def test_a_classifier_says_what_it_cannot_do(command, message, runs, tmp_path):
    name, *study = command
    arguments = [name, runs / "classifier", *study, "--out", tmp_path / "picture.png"]
    arguments += ["--data-dir", runs / "tfds"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code != 0 and message in result.output
    assert not (tmp_path / "picture.png").exists()
