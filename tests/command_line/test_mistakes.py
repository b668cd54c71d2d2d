"""Tests that a mistake ends in one line that names the file, and leaves nothing behind."""

import errno
import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
from commands import invoke

import iresnet_tf as irn
from iresnet_tf.cli import evaluation
from iresnet_tf.data import digits
from iresnet_tf.training.run_folder import RunFolder

SMALL = [
    "model.blocks=1,1",
    "model.width=4",
    "model.dense_blocks=0",
    "intra_op_threads=none",
    "--steps",
    1,
]


def refused(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 1, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    *before, message = result.stderr.strip().splitlines()
    assert message.startswith("Error: ") and len(message) < 600
    assert not any(line.startswith(("Error: ", "Traceback")) for line in before)
    return message


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    digits.load("test", data_dir=folder)
    return folder


def flipped(path):
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(bytes(content))


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_record(path):
    content = path.read_bytes()
    path.write_bytes(content[: int.from_bytes(content[:8], "little") + 16])


@pytest.mark.parametrize("file", ["digits-test*", "digits-train*", "dataset_info.json"])
@pytest.mark.parametrize("damage", [flipped, halved, one_record, lambda path: path.unlink()])
def test_damaged_data_are_named_before_a_run_begins(damage, file, prepared, tmp_path):
    if file.endswith("json") and damage is one_record:
        pytest.skip("a file of text has no records")
    folder = tmp_path / "sets"
    shutil.copytree(prepared, folder)
    damage(next(folder.glob(f"digits/1.0.0/{file}")))
    run = tmp_path / "run"
    message = refused("train", "digits-density", "--out", run, *SMALL, "--data-dir", folder)
    assert str(folder / "digits") in message
    assert not run.exists()


@pytest.mark.parametrize("name", ["", "a/b/c/d", "../x", "/etc", "no such", "minst", "mnist:9.9.9"])
def test_an_invalid_name_of_a_set_is_refused_in_a_line(name, tmp_path):
    options = ["--out", tmp_path / "run", f"data.name=tfds:{name}", "--data-dir", tmp_path]
    message = refused("train", "mnist-density", *options)
    assert "TensorFlow Datasets has no set" in message and repr(name) in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [
    ["train", "digits-density"],
    ["sample", "digits-density"],
    ["reconstruct", "digits-density"],
    ["export", "digits-density"],
    ["analyze", "digits-density", "spectrum"],
])  # fmt: skip
def test_an_out_below_a_file_is_refused_before_anything_is_computed(command, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "x.png"
    message = refused(*command, "--out", out)
    assert str(out) in message and "Not a directory" in message


@pytest.fixture
def toy(tmp_path):
    """Yields the folder of a run without training."""
    run = RunFolder(tmp_path / "toy")
    preset = irn.presets.get("toy-moons", ["intra_op_threads=none"])
    run.create({"preset": preset.model_dump(mode="json"), "seed": 0})
    model = irn.models.DensityModel([irn.layers.ResidualBlock(irn.layers.Contraction.mlp((4,)))])
    model.build((None, 2))
    model.save(run.model)
    return run.path


def test_an_evaluation_that_cannot_be_written_is_printed(toy, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(evaluation, "write_json", full)
    result = invoke("evaluate", toy, "--examples", 4)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["nll"]["examples"] == 4
    assert str(toy / "evaluation.json") in result.stderr and "Free space" in result.stderr


# Model files.


def edited(path, change):
    """Changes the configuration inside a model file by a function of its text."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    text = change(parts["config.json"].decode())
    assert text != parts["config.json"].decode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "config.json": text.encode()}.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("value", ["5.0", "NaN", '"large"'])
def test_a_coefficient_out_of_range_in_a_model_file_is_named_in_a_line(value, toy):
    file = toy / "model.keras"
    edited(file, lambda text: text.replace('"coeff": 0.9', f'"coeff": {value}'))
    message = refused("certify", file)
    assert str(file) in message and "coeff" in message


def test_weights_of_nan_in_a_model_file_are_named_with_their_layer(toy):
    model = irn.load(toy)
    block = irn.layers.residual_blocks(model.flow)[0]
    block.g.parts[0].kernel.assign(np.full(block.g.parts[0].kernel.shape, np.nan))
    keras.Model.save(model, toy / "model.keras")
    message = refused("certify", toy)
    assert "NaN" in message and block.name in message


def test_a_claim_in_a_model_file_certifies_nothing(toy):
    file = toy / "model.keras"
    edited(file, lambda text: text.replace('"lipschitz": null', '"lipschitz": 0.01'))
    result = invoke("certify", file)
    block = json.loads(result.stdout)["blocks"][0]
    product = np.prod([layer["norm_bound"] for layer in block["layers"]])
    # LipSwish has the constant 1, so the product of the norms bounds the branch.
    assert block["lipschitz_bound"] >= product * (1.0 - 1e-6) > 0.01
    assert result.exit_code == 0 and block["certified"] and not block["vouched"]


def test_certify_fails_for_a_block_that_somebody_vouched_for(tmp_path):
    g = irn.layers.Contraction([keras.layers.Dense(2)], lipschitz=0.5)
    model = irn.models.DensityModel([irn.layers.ResidualBlock(g, name="claimed")])
    model.build((None, 2))
    model.save(tmp_path / "model.keras")
    result = invoke("certify", tmp_path / "model.keras")
    assert result.exit_code == 1 and json.loads(result.stdout)["vouched"]
    assert "vouched for the constant of claimed" in result.stderr
