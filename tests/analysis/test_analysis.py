"""The studies: spectra, estimators, inverses, interpolation."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf import layers, models
from iresnet_tf.analysis import (
    evaluation,
    interpolation,
    inverse_study,
    log_det_study,
    plots,
    spectrum,
)
from iresnet_tf.analysis.block_inputs import block_inputs
from iresnet_tf.analysis.clones import copied
from iresnet_tf.analysis.evaluation import estimator_replaced
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
        found, method = spectrum.singular_values(layer)
        assert method in ("matrix", "gram") and len(found) == len(expected)
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_large_convolution_is_bounded_on_the_torus(monkeypatch, matrix_of):
    layer = layers.SpectralConv2D(3, dtype="float64")
    layer.build((None, 6, 5, 2))
    exact, _ = spectrum.singular_values(layer)
    monkeypatch.setattr(spectrum, "EXACT_ORDER", 10)
    found, method = spectrum.singular_values(layer)
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
    figure, numbers = spectrum.spectrum(model)
    assert {layer["method"] for layer in numbers["layers"]} == {"gram", "matrix"}
    assert len(numbers["layers"]) == len(layers.spectral_layers(model))
    for layer in numbers["layers"]:
        assert layer["exact"] and layer["largest"] == pytest.approx(0.9, rel=1e-4)
    monkeypatch.setattr(spectrum, "EXACT_ORDER", 10)
    figure, numbers = spectrum.spectrum(model)
    assert not all(layer["exact"] for layer in numbers["layers"])
    assert "upper bounds (torus)" in [each.get_text() for each in legend_of(figure.axes[0])]


def legend_of(axes):
    return axes.get_legend().get_texts()


def linear_model(matrix):
    """A single block ``x + x K`` with the given matrix, whose norm is below the coefficient."""
    g = layers.Contraction([layers.SpectralDense(len(matrix), coeff=0.95, use_bias=False)])
    model = irn.models.DensityModel([layers.ResidualBlock(g)], seed=0)
    model.build((None, len(matrix)))
    layers.spectral_layers(model)[0].kernel.assign(matrix)
    layers.refresh(model, 1e-6)
    return model


POINTS = np.random.default_rng(2).normal(size=(8, 2)).astype(np.float32)


def test_bias_and_noise_are_those_of_a_linear_map():
    # J = c P with P² = I: log|det(I + J)| = ln(1 − c²), tr Jᵏ = 2 cᵏ for even k, else 0.
    c = 0.75
    _, numbers = log_det_study.log_det_study(linear_model([[0.0, c], [c, 0.0]]), POINTS)
    assert numbers["log_det"] == pytest.approx(np.log(1.0 - c**2) / 2.0, rel=1e-6)
    for row in numbers["estimates"]:
        n = row["terms"]
        series = -sum(2.0 * c**k / k for k in range(2, n + 1, 2))
        bias = (series - np.log(1.0 - c**2)) / 2.0
        # vᵀ P v is 2 or −2 with equal probability, and vᵀ v always 2.
        odd = sum(c**k / k for k in range(1, n + 1, 2))
        assert row["bias"] == pytest.approx(bias, abs=1e-7)
        assert row["max_abs_bias"] == pytest.approx(bias, abs=1e-7)
        assert row["bias_bits_per_dim"] == pytest.approx(bias / np.log(2.0), abs=1e-7)
        assert row["noise"] == pytest.approx(odd / np.sqrt(row["probes"]), rel=1e-6)
        tail = -np.log(1.0 - c) - sum(c**k / k for k in range(1, n + 1))
        assert row["truncation_bound"] == pytest.approx(tail, rel=1e-5)


@pytest.mark.parametrize("grid", [(8, 8), (16, 20)])
def test_bias_and_noise_are_those_of_the_estimator(grid, monkeypatch):
    monkeypatch.setattr(log_det_study, "TERMS", (3,))
    model, x, draws = image_model(grid), images(3, grid), 150
    _, numbers = log_det_study.log_det_study(model, x)
    assert numbers["dimension"] == 64 and numbers["cropped"] == (grid != (8, 8))
    flow = model.flow
    if numbers["cropped"]:
        x, flow = x[:, 4:12, 6:14], copied(flow, (8, 8, 1))
    x = flow.parts[0].add_noise(x, 0)
    with estimator_replaced(flow, irn.log_det.Exact()):
        exact = flow.forward_and_log_det(x, seed=0)[1].numpy().astype(np.float64)
    for row in numbers["estimates"]:
        if row["probes"] == 5:
            with estimator_replaced(flow, irn.log_det.PowerSeries(row["terms"], 5)):
                drawn = [flow.forward_and_log_det(x, seed=[9, k])[1].numpy() for k in range(draws)]
            error = (np.stack(drawn) - exact) / 64
            noise = np.sqrt(error.var(0, ddof=1).mean())
            assert row["noise"] == pytest.approx(noise, rel=0.12)
            assert abs(row["bias"] - error.mean()) < 5.0 * noise / np.sqrt(draws * len(x))
            assert row["max_abs_bias"] <= row["truncation_bound"]


def test_blocks_receive_what_passes_the_layers_before_them():
    model, x = image_model(), images()
    flow, total = model.flow, 0.0
    with estimator_replaced(flow, irn.log_det.Exact()):
        expected = flow.forward_and_log_det(x, seed=0)[1] - 64 * -np.log(16.0)
        for block, inputs in block_inputs(flow, tf.constant(x)):
            total += block.forward_and_log_det(inputs, seed=0)[1]
    assert [block for block, _ in block_inputs(flow, tf.constant(x))] == layers.residual_blocks(
        flow
    )
    # ActNorms that were not initialised are identities.
    np.testing.assert_allclose(total, expected, atol=1e-3)


def test_a_flow_that_cannot_be_moved_to_crops_says_so():
    model = irn.models.DensityModel(architectures.vector_flow(1, 8, 1))
    model.build((None, 300))
    with pytest.raises(ValueError, match="cannot be moved to crops"):
        log_det_study.log_det_study(model, np.zeros((2, 300), np.float32))


def test_dense_blocks_are_left_out_of_the_crops(monkeypatch):
    monkeypatch.setattr(log_det_study, "TERMS", (1, 2))
    grid = (16, 20)
    _, numbers = log_det_study.log_det_study(image_model(grid, dense_blocks=1), images(2, grid))
    # The same kernels, drawn in the same order, without the dense block.
    _, alone = log_det_study.log_det_study(image_model(grid), images(2, grid))
    assert (numbers["blocks"], numbers["blocks_left_out"]) == (2, 1)
    assert (alone["blocks"], alone["blocks_left_out"]) == (2, 0)
    assert numbers["log_det"] == pytest.approx(alone["log_det"], abs=1e-5)


def test_a_copy_on_another_grid_has_the_same_kernels():
    model = image_model((12, 16))
    copy = copied(model.flow, (8, 8, 1))
    for one, other in zip(layers.spectral_layers(copy), layers.spectral_layers(model), strict=True):
        np.testing.assert_array_equal(one.kernel, other.kernel)
        assert not one.is_stale(1e-5)
    assert copy(images()).shape == (4, 64)


def test_the_error_of_a_scaled_rotation_falls_by_its_coefficient(monkeypatch):
    # g = c Q with orthogonal Q: x_k − x = (−g)ᵏ (y − x), and y − x = g(x).
    monkeypatch.setattr(inverse_study, "ITERATIONS", (1, 2, 5, 9))
    c = 0.8
    _, numbers = inverse_study.inverse_study(linear_model([[0.0, -c], [c, 0.0]]), POINTS)
    size = np.linalg.norm(POINTS, axis=1)
    curves = {curve["name"]: curve["error"] for curve in numbers["curves"]}
    for name, rate in {"trained, Picard": c, "c = 0.5": 0.5, "c = 0.97": 0.97}.items():
        expected = [rate**n * np.median(size) for n in (1, 2, 5, 9)]
        np.testing.assert_allclose(curves[name], expected, rtol=1e-3)
    # At norm 2 every step makes it twice as large: the first iterate remains the best.
    assert curves["no constraint (norm 2)"][-1] == pytest.approx(2.0 * np.median(size), rel=1e-3)
    picard = numbers["block"]["curves"][0]
    np.testing.assert_allclose(
        picard["error"], [c**n * size.max() for n in (1, 2, 5, 9)], rtol=1e-3
    )
    # The residual at x_k is (I + g)(x_k − x), of norm √(1 + c²) times the error.
    bound = np.array(picard["error"]) * np.sqrt(1.0 + c**2) / (1.0 - c)
    np.testing.assert_allclose(picard["error_bound"], bound, rtol=1e-2)


def test_the_inverse_of_a_flow_converges_with_the_constraint(monkeypatch):
    monkeypatch.setattr(inverse_study, "ITERATIONS", (2, 50))
    figure, numbers = inverse_study.inverse_study(image_model(), images())
    error = {curve["name"]: curve["error"] for curve in numbers["curves"]}
    for name in ("trained, Picard", "trained, Anderson", "c = 0.5", "c = 0.9"):
        assert error[name][-1] < 1e-3 < error[name][0]
    for curve in numbers["block"]["curves"]:
        assert np.all(np.array(curve["error"]) <= curve["error_bound"])
    assert len(figure.axes) == 2


def test_what_overflows_is_none_in_the_numbers(monkeypatch):
    monkeypatch.setattr(inverse_study, "ITERATIONS", (1, 3))
    monkeypatch.setattr(inverse_study, "UNCONSTRAINED", 100.0)
    _, numbers = inverse_study.inverse_study(linear_model([[0.5, 0.0], [0.0, 0.5]]), 1e37 * POINTS)
    assert numbers["curves"][-1]["error"] == [None, None]
    json.dumps(numbers, allow_nan=False)


def test_a_study_leaves_the_model_alone(monkeypatch):
    monkeypatch.setattr(inverse_study, "ITERATIONS", (2,))
    model, x = image_model(), images()
    before = [weight.numpy() for weight in model.weights]
    solvers = [block.solver for block in layers.residual_blocks(model.flow)]
    inverse_study.inverse_study(model, x)
    log_det_study.log_det_study(model, x)
    for one, other in zip(before, model.weights):
        np.testing.assert_array_equal(one, other)
    assert {layer.coeff for layer in layers.spectral_layers(model)} == {0.9}
    assert [block.solver for block in layers.residual_blocks(model.flow)] == solvers


def test_paths_begin_and_end_at_the_data():
    model, x = image_model(), images(4)
    for spherical in (False, True):
        _, numbers = interpolation.interpolate(model, x[:2], x[2:], steps=3, spherical=spherical)
        assert numbers["max_abs_error"] < 1e-3
    with pytest.raises(ValueError, match="at least two steps"):
        interpolation.interpolate(model, x[:2], x[2:], steps=1)
    with pytest.raises(ValueError, match="one shape"):
        interpolation.interpolate(model, x[:1], x[2:])
    with pytest.raises(ValueError, match="points of the plane"):
        interpolation.interpolate(model, np.zeros((2, 5)), np.zeros((2, 5)))


def test_many_paths_are_decoded_a_few_at_a_time(monkeypatch):
    model, drawn = linear_model([[0.5, 0.0], [0.0, 0.5]]), []
    monkeypatch.setattr(plots, "paths", drawn.append)
    monkeypatch.setattr(interpolation, "_AT_ONCE", 5)
    interpolation.interpolate(model, POINTS[:3], POINTS[3:6], steps=2)
    np.testing.assert_allclose(drawn[0], np.stack([POINTS[:3], POINTS[3:6]], 1), atol=1e-5)


@pytest.mark.parametrize("spherical", [False, True])
def test_the_middle_of_a_path_is_that_of_the_latents(spherical, monkeypatch):
    c = 0.5
    model, drawn = linear_model([[c, 0.0], [0.0, c]]), []
    monkeypatch.setattr(plots, "paths", drawn.append)
    first, second = np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]])
    interpolation.interpolate(model, first, second, steps=3, spherical=spherical)
    # Latent and data differ by a factor here, and the latents are at a right angle.
    middle = np.sqrt(2.0) if spherical else 1.0
    np.testing.assert_allclose(drawn[0], [[[2.0, 0.0], [middle, middle], [0.0, 2.0]]], atol=1e-5)


def test_images_without_noise_are_shown_at_the_levels_that_they_have(monkeypatch):
    preprocessing = [layers.Standardize(8.0, 5.0)]
    model = irn.models.Classifier(
        architectures.image_flow((1,), 4, padding=3), 2, preprocessing=preprocessing
    )
    model.build((None, 8, 8, 1))
    x, shown = np.tile(np.arange(16.0, dtype=np.float32), 16).reshape(4, 8, 8, 1), []
    monkeypatch.setattr(plots, "image_grid", lambda images, levels, *_: shown.append(levels))
    interpolation.interpolate(model, x[:2], x[2:])
    interpolation.interpolate(model, x[:2], x[2:], levels=17)
    assert shown == [16, 17]


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
        ("toy", ["sample"]),
        ("toy", ["reconstruct"]),
        ("classifier", ["analyze", "spectrum"]),
        ("classifier", ["analyze", "inverse"]),
        ("classifier", ["interpolate"]),
        ("classifier", ["reconstruct"]),
    ],
)
def test_each_mode_writes_a_picture_and_its_numbers(run, command, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(inverse_study, "ITERATIONS", (1, 5))
    name, *study = command
    picture = tmp_path / "picture.png"
    arguments = [name, runs / run, *study, "--out", picture, "--data-dir", runs / "tfds"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    assert picture.read_bytes()[:8] == PNG
    assert json.loads(picture.with_suffix(".json").read_text())
    picture.unlink()
    again = CliRunner().invoke(main, [str(each) for each in arguments])
    assert again.exit_code != 0 and "exists" in again.output


@pytest.mark.parametrize("options", [[], ["--spherical"]])
def test_paths_are_arcs_where_asked(options, runs, tmp_path):
    picture = tmp_path / "paths.png"
    options = ["--pairs", 2, "--steps", 6, "--out", picture, *options]
    arguments = ["interpolate", runs / "toy", *options]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    numbers = json.loads(picture.with_suffix(".json").read_text())
    assert numbers["spherical"] == ("--spherical" in options) and numbers["max_abs_error"] < 1e-3
    assert (numbers["pairs"], numbers["steps"]) == (2, 6)


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


def test_without_a_certificate_the_truncation_is_not_bounded():
    g = layers.Contraction([keras.layers.Dense(300)], lipschitz=1.5)
    model = models.DensityModel([layers.ResidualBlock(g)])
    model.build((None, 300))
    with pytest.warns(UserWarning, match="not certified a contraction"):
        estimator = evaluation.choose_estimator(model)
    assert estimator.terms == evaluation.UNCERTIFIED_TERMS
    constants = evaluation.block_constants(model.flow)
    assert evaluation.truncation_bound(constants, estimator) == float("inf")


def test_levels_are_classified_with_their_noise():
    """With a steep logit a bare level lies far from where training has seen it."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 256).astype(np.int32)
    x = (y[:, None] * random.integers(0, 2, (256, 8))).astype(np.float32)
    block = layers.ResidualBlock(layers.Contraction.mlp((8,)))
    preprocessing = [layers.Dequantize(2), layers.Logit(1e-6)]
    model = models.HybridModel([block], classes=2, preprocessing=preprocessing, seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)
    figures = model.evaluate(x, y, batch_size=64, verbose=0, return_dict=True)
    found = evaluation.classification(model, x, y)
    # Zeros of the second class cannot be told apart: one in 2⁹ samples.
    assert figures["accuracy"] > 0.9
    assert found["accuracy"] == pytest.approx(figures["accuracy"], abs=0.05)
    assert found["classification"]["cross_entropy"] == pytest.approx(
        figures["cross_entropy"], abs=0.1
    )
