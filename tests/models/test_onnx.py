"""Tests ONNX files: ONNX Runtime gives the numbers of the model."""

import json
import sys

import numpy as np
import pytest

import iresnet_tf as irn
from iresnet_tf.layers.blocks import estimator_replaced


def initialized(model, x):
    model.build((None, *x.shape[1:]))
    model.initialize(x)
    return model


def vector_model(**options):
    def block():
        g = irn.layers.Contraction.mlp((8,), coeff=0.6)
        return irn.layers.ResidualBlock(g, solver=irn.solvers.Picard(1e-6))

    layers = [irn.layers.ActNorm(), block(), irn.layers.ActNorm(), block()]
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    return initialized(irn.models.DensityModel(layers, **options), x), x[:8]


def image_layers(**options):
    return irn.models.architectures.image_flow((1, 1), 4, coeff=0.6, **options)


def image_model(kind, **options):
    x = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1)).astype(np.float32)
    preprocessing = [irn.layers.Dequantize(256), irn.layers.Center()]
    layers = image_layers(**({"factor_out": True} if kind is not irn.models.Classifier else {}))
    model = initialized(kind(layers, preprocessing=preprocessing, **options), x)
    return model, (x + 0.5)[:8]


def session(path):
    return pytest.importorskip("onnxruntime").InferenceSession(str(path))


def value(folder, name, x):
    run = session(folder / f"{name}.onnx")
    (found,) = run.run(None, {run.get_inputs()[0].name: np.asarray(x)})
    return found


def require_equal_numbers(model, x, folder):
    """Compares the files with the model, whose own numbers other tests compare with others."""
    facts = json.loads((folder / "signatures.json").read_text())
    z = model.encode(x).numpy()
    scale = np.abs(x).max()
    np.testing.assert_allclose(value(folder, "encode", x), z, atol=1e-5)
    back = value(folder, "decode", z)
    # The fixed evaluations suffice by the certified constant, so the points come back.
    np.testing.assert_allclose(back, x, atol=1e-5 * scale)
    assert facts["decode"]["max_abs_error"] < 1e-5 * scale
    np.testing.assert_allclose(value(folder, "encode", x[:3]), z[:3], atol=1e-5)
    if model.has_density:
        with estimator_replaced(model.flow, irn.log_det.Exact()):
            exact = model.log_prob(x, seed=0).numpy()
        found = value(folder, "log_prob", x)
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-3)
        assert facts["log_prob"]["root_mean_square_error"] < 1e-3
    if model.classes is not None:
        expected = model.classify(x).numpy()
        np.testing.assert_allclose(value(folder, "classify", x), expected, atol=1e-5)


@pytest.mark.slow
def test_the_files_of_a_density_give_its_numbers(tmp_path):
    pytest.importorskip("tf2onnx")
    model, x = vector_model()
    solvers = [block.solver for block in irn.layers.residual_blocks(model.flow)]
    model.export(tmp_path / "onnx", "onnx")
    assert solvers == [block.solver for block in irn.layers.residual_blocks(model.flow)]
    require_equal_numbers(model, x, tmp_path / "onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, options",
    [(irn.models.DensityModel, {}), (irn.models.Classifier, {"classes": 3}),
     (irn.models.HybridModel, {"classes": 3, "prior": "conditional"})],
)  # fmt: skip
def test_the_files_of_a_model_of_images_give_its_numbers(kind, options, tmp_path):
    pytest.importorskip("tf2onnx")
    model, x = image_model(kind, **options)
    model.export(tmp_path / "onnx", "onnx")
    require_equal_numbers(model, x, tmp_path / "onnx")


def test_fewer_evaluations_leave_the_error_that_is_stated(tmp_path):
    pytest.importorskip("tf2onnx")
    model, x = vector_model()
    model.export(tmp_path / "onnx", "onnx", evaluations=1)
    stated = json.loads((tmp_path / "onnx" / "signatures.json").read_text())["decode"]
    assert stated["evaluations"] == 1
    # One evaluation is x = z − g(z) in every block, here written by hand.
    z = model.encode(x)
    by_hand = z
    for layer in reversed(model.flow.parts):
        is_block = isinstance(layer, irn.layers.ResidualBlock)
        by_hand = by_hand - layer.g(by_hand) if is_block else layer.inverse(by_hand).x
    np.testing.assert_allclose(value(tmp_path / "onnx", "decode", z), by_hand, atol=1e-5)
    assert np.abs(by_hand - x).max() > 1e-4 and stated["max_abs_error"] > 1e-4


def test_without_the_converter_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    model, _ = vector_model()
    with pytest.raises(ImportError, match="pip install"):
        model.export(tmp_path / "onnx", "onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format, evaluations", [("tf_saved_model", 5), ("onnx", 0), ("h5", None)])
def test_other_formats_and_numbers_are_refused(format, evaluations, tmp_path):
    model, _ = vector_model()
    with pytest.raises(ValueError, match="received"):
        model.export(tmp_path / "out", format, evaluations=evaluations)
    assert not list(tmp_path.iterdir())
