"""Tests exported models in a process without this package, and over HTTP."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from server_examples import ask, served

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.cli import main
from iresnet_tf.models import architectures

CLASSES, LEVELS = 3, 4


def spread(model):
    """Builds a model with kernels whose constraints bind and vectors that do not fit them."""
    model.build((None, 4, 4, 1))
    random = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    return model


def flow(**options):
    return architectures.image_flow((1, 1), 4, log_det=irn.log_det.PowerSeries(3), **options)


@pytest.fixture(scope="module")
def hybrid():
    preprocessing = [layers.Dequantize(LEVELS), layers.Center()]
    return spread(
        irn.models.HybridModel(
            flow(factor_out=True), CLASSES, prior="conditional", preprocessing=preprocessing
        )
    )


@pytest.fixture(scope="module")
def exported(hybrid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "hybrid"
    hybrid.export(folder)
    return folder


@pytest.fixture(scope="module")
def points():
    """Returns levels plus noise."""
    random = np.random.default_rng(1)
    x = random.integers(0, LEVELS, (7, 4, 4, 1)) + random.uniform(0.0, 0.99, (7, 4, 4, 1))
    return x.astype("float32")


BARE = """
import sys

# As if they were not installed.
for name in ("iresnet_tf", "keras", "tf_keras", "tensorflow_probability"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
x = np.load(sys.argv[2])
call = {name: each for name, each in model.signatures.items()}
found = {"names": sorted(call)}
found["log_prob"] = call["log_prob"](x=tf.constant(x), seed=tf.constant(7))["log_prob"]
found["other"] = call["log_prob"](x=tf.constant(x), seed=tf.constant(8))["log_prob"]
found["one"] = call["log_prob"](x=tf.constant(x[:1]), seed=tf.constant(7))["log_prob"]
found["z"] = call["encode"](x=tf.constant(x))["z"]
found["back"] = call["decode"](z=found["z"])["x"]
found["logits"] = call["classify"](x=tf.constant(x))["logits"]
half, seed = tf.constant(0.5), tf.constant(3)
found["x"] = call["sample"](count=tf.constant(5), temperature=half, seed=seed)["x"]
labels = tf.constant([2, 0, 1])
given = call["sample_given_labels"](labels=labels, temperature=half, seed=seed)
found["given"] = given["x"]
assert not any(name.startswith("iresnet_tf") for name, each in sys.modules.items() if each)
np.savez(sys.argv[3], **found)
"""


def test_a_bare_process_computes_what_the_model_does(hybrid, exported, points, tmp_path):
    np.save(tmp_path / "x.npy", points)
    (tmp_path / "bare.py").write_text(BARE)
    files = [str(each) for each in (exported, tmp_path / "x.npy", tmp_path / "found.npz")]
    command = [sys.executable, "-I", str(tmp_path / "bare.py"), *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "found.npz")
    expected = ["classify", "decode", "encode", "log_prob", "sample", "sample_given_labels"]
    assert list(found["names"]) == expected
    # The tolerance is a few roundings in float32 of numbers of some tens of nats.
    np.testing.assert_allclose(found["log_prob"], hybrid.log_prob(points, seed=7), rtol=2e-6)
    np.testing.assert_allclose(found["one"], found["log_prob"][:1], rtol=2e-6)
    assert np.abs(found["other"] - found["log_prob"]).max() > 1e-3
    np.testing.assert_allclose(found["z"], hybrid.encode(points), atol=1e-5)
    np.testing.assert_allclose(found["back"], points, atol=1e-5)
    np.testing.assert_allclose(found["logits"], hybrid.classify(points), atol=1e-5)
    np.testing.assert_array_equal(found["x"], hybrid.sample(5, temperature=0.5, seed=3))
    np.testing.assert_array_equal(
        found["given"], hybrid.sample(3, temperature=0.5, seed=3, labels=[2, 0, 1])
    )


def test_export_begins_with_refined_vectors(hybrid, exported):
    assert exported.is_dir()
    assert not any(layer.is_stale() for layer in layers.spectral_layers(hybrid))


def test_the_facts_lie_beside_the_model(hybrid, exported):
    facts = json.loads((exported / "signatures.json").read_text())
    assert facts["event_shape"] == [4, 4, 1] and facts["latent_shape"] == [16]
    assert (facts["levels"], facts["classes"]) == (LEVELS, CLASSES)
    assert facts["log_det"] == [repr(irn.log_det.PowerSeries(3))]
    assert facts["certified_lipschitz"] == max(hybrid.lipschitz_bounds().values())
    log_prob = facts["signatures"]["log_prob"]
    assert log_prob["inputs"] == {
        "x": {"shape": [None, 4, 4, 1], "dtype": "float32"},
        "seed": {"shape": [], "dtype": "int32"},
    }
    assert log_prob["outputs"] == {"log_prob": {"shape": [None], "dtype": "float32"}}
    assert "noise" in log_prob["does"]


def plane():
    """Returns a small model of points of the plane, whose log-determinant is estimated."""
    g = layers.Contraction.mlp((4,))
    model = irn.models.DensityModel([layers.ResidualBlock(g, log_det=irn.log_det.PowerSeries(1))])
    model.build((None, 2))
    return model


def test_an_existing_folder_is_left_alone_and_a_failure_leaves_none(tmp_path, monkeypatch):
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        plane().export(taken)
    assert list(taken.iterdir()) == []

    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="no space"):
        plane().export(tmp_path / "new")
    assert list(tmp_path.iterdir()) == [taken]


def test_the_command_exports_a_classifier_with_what_applies(tmp_path):
    model = spread(irn.models.Classifier(flow(padding=1)[:4], CLASSES))
    model.save(tmp_path / "model.keras")
    arguments = ["export", str(tmp_path / "model.keras"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    assert set(loaded.signatures) == {"encode", "decode", "classify"}
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype("float32")
    z = loaded.encode(x)["z"]
    np.testing.assert_allclose(loaded.decode(z)["x"], x, atol=1e-5)
    np.testing.assert_allclose(loaded.classify(x)["logits"], model(x), atol=1e-5)
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code != 0 and "exists already" in again.output


def test_the_command_exports_with_another_estimator(tmp_path):
    """The exact log-determinant does not depend on the seed."""
    model = plane()
    model.save(tmp_path / "model.keras")
    arguments = ["export", str(tmp_path / "model.keras"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*arguments, "--log-det", "exact"])
    assert result.exit_code == 0, result.output
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    x = np.random.default_rng(0).normal(size=(9, 2)).astype("float32")
    one, other = (loaded.log_prob(x, seed)["log_prob"] for seed in (1, 2))
    np.testing.assert_array_equal(one, other)
    assert np.any(model.log_prob(x, seed=1) != model.log_prob(x, seed=2))
    facts = json.loads((tmp_path / "out" / "signatures.json").read_text())
    assert facts["log_det"] == ["Exact()"] and facts["levels"] is None


@pytest.fixture(scope="module")
def address(exported):
    """Starts the example server with the exported model, and yields its loopback address."""
    with served(exported) as address:
        yield address


def test_the_server_answers_with_the_model_s_numbers(address, hybrid, points):
    status, facts = ask(address, "")
    assert status == 200 and facts["event_shape"] == [4, 4, 1]
    status, answer = ask(address, "log_prob", {"x": points.tolist(), "seed": 7})
    assert status == 200
    np.testing.assert_allclose(answer["log_prob"], hybrid.log_prob(points, seed=7), rtol=2e-6)
    inputs = {"count": 5, "temperature": 0.5, "seed": 3}
    np.testing.assert_array_equal(
        ask(address, "sample", inputs)[1]["x"], hybrid.sample(5, temperature=0.5, seed=3)
    )


@pytest.mark.parametrize(
    "name, inputs, message",
    [
        ("encode", {"y": 1}, "The inputs are"),
        ("encode", {"x": [[1.0, 2.0]]}, "None, 4, 4, 1"),
        ("encode", {"x": "digits"}, "consists of numbers"),
        ("sample", {"count": 2, "temperature": -1.0, "seed": 0}, "temperature is a positive"),
    ],
)
def test_the_server_says_what_is_wrong_with_a_request(address, name, inputs, message):
    status, answer = ask(address, name, inputs)
    assert status == 422 and message in answer["detail"]
