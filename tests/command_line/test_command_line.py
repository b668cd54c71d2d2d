"""Tests the command ``iresnet`` on small runs."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import invoke

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.data import digits
from iresnet_tf.training import presets
from iresnet_tf.training.run_folder import RunFolder

SMALL_TOY = ["model.blocks=2", "model.width=8", "model.depth=1", "intra_op_threads=none"]
SMALL_DIGITS = [
    "model.blocks=1,1",
    "model.width=4",
    "model.dense_blocks=0",
    "intra_op_threads=none",
]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory, data_dir):
    run = tmp_path_factory.mktemp("runs") / "digits"
    result = invoke(
        *["train", "digits-density", *SMALL_DIGITS, "--out", run, "--steps", 6],
        *["--batch-size", 32, "--data-dir", data_dir, "--seed", 3],
    )
    assert result.exit_code == 0, result.output
    return run


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "toy"
    result = invoke(
        *["train", "toy-checkerboard", *SMALL_TOY, "--out", run, "--steps", 6, "--batch-size", 64]
    )
    assert result.exit_code == 0, result.output
    return run


def test_presets_lists_every_preset():
    output = invoke("presets").output
    assert [line.split()[0] for line in output.splitlines()] == list(irn.presets.names())


def test_train_leaves_the_whole_run_folder(digits_run):
    names = {path.name for path in digits_run.iterdir()}
    assert names >= {
        *["config.json", "history.jsonl", "checkpoints", "tensorboard", "images", "model.keras"],
        "result.json",
    }
    images = {path.name.split("-")[0] for path in (digits_run / "images").iterdir()}
    assert images == {"data", "reconstructions", "samples"}


def test_a_run_loads_in_a_process_that_imports_nothing_else(digits_run):
    program = "import sys, iresnet_tf as irn; print(irn.load(sys.argv[1]).dimension)"
    command = [sys.executable, "-c", program, str(digits_run)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["64"]


def test_history_has_one_line_an_epoch_with_finite_figures(digits_run):
    lines = [json.loads(line) for line in (digits_run / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["step"] == 6
    assert all(np.isfinite(line["bits_per_dim"]) for line in lines)


def test_tensorboard_scalars_and_images_are_those_of_the_documentation(digits_run):
    tags = {}
    for file in (digits_run / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                tags[value.tag] = value.metadata.plugin_data.plugin_name
    scalars = {tag for tag, plugin in tags.items() if plugin == "scalars"}
    assert scalars >= {
        *["bits_per_dim", "log_prior", "log_det", "largest_sigma", "inverse_iterations"],
        "learning_rate",
        "max_gradient",
    }
    images = {tag for tag, plugin in tags.items() if plugin == "images"}
    assert images == {"data", "reconstructions", "samples"}


def test_evaluate_prints_the_contract_s_keys_and_repeats_exactly(digits_run, data_dir):
    arguments = ["evaluate", digits_run, "--passes", 2, "--data-dir", data_dir]
    first, second = invoke(*arguments), invoke(*arguments)
    assert first.exit_code == 0, first.output
    assert first.output == second.output
    result = json.loads(first.output)
    written = json.loads((digits_run / "evaluation.json").read_text())
    assert written == {"split": "test", **result}
    figure = result["bits_per_dim"]
    assert {"mean", "standard_error", "truncation_bound", "estimator"} <= set(figure)
    assert figure["examples"] == 359
    assert {"max_abs_error", "iterations", "error_bound"} <= set(result["reconstruction"])
    assert 0.0 < result["lipschitz"]["certified_max"] < 1.0


def test_evaluate_s_bits_per_dim_is_that_of_exact_log_probabilities(digits_run, data_dir):
    """The independent value is the average of `log_prob` over other noise, in bits/dim."""
    output = invoke("evaluate", digits_run, "--passes", 20, "--data-dir", data_dir).output
    figure = json.loads(output)["bits_per_dim"]
    model = irn.load(digits_run)
    for part in model.flow.parts:
        if hasattr(part, "log_det"):
            part.log_det = irn.log_det.Exact()
    images = digits.load("test", data_dir)[0].astype(np.float32)
    generator, passes = np.random.default_rng(0), []
    for _ in range(20):
        noisy = images + generator.uniform(size=images.shape).astype(np.float32) * (1 - 1e-6)
        passes.append(-np.mean(model.log_prob(noisy)) / (64 * np.log(2.0)))
    spread = np.std(passes, ddof=1) / np.sqrt(20)
    # The difference of two independent means has both standard errors.
    assert abs(figure["mean"] - np.mean(passes)) < 4.0 * np.hypot(spread, figure["standard_error"])


def test_a_series_reports_its_truncation_bound(digits_run, data_dir):
    output = invoke(
        *["evaluate", digits_run, "--log-det", 3, "--passes", 1, "--data-dir", data_dir]
    ).output
    result = json.loads(output)
    expected = sum(
        -np.log1p(-bound) - sum(bound**k / k for k in (1, 2, 3))
        for bound in result["lipschitz"]["per_block"].values()
    ) / np.log(2.0)
    np.testing.assert_allclose(result["bits_per_dim"]["truncation_bound"], expected, rtol=1e-6)


def test_toy_reports_nats(toy_run):
    result = json.loads((toy_run / "result.json").read_text())
    assert np.isfinite(result["nll"]["mean"])
    assert result["nll"]["truncation_bound"] == 0.0
    assert result["nll"]["examples"] == 10_000


@pytest.mark.parametrize("command", ["sample", "reconstruct"])
@pytest.mark.parametrize("kind", ["digits_run", "toy_run"])
def test_pictures_are_written_and_never_overwritten(command, kind, request, tmp_path, data_dir):
    run, picture = request.getfixturevalue(kind), tmp_path / "picture.png"
    arguments = [command, run, "--count", 5, "--out", picture, "--data-dir", data_dir]
    assert invoke(*arguments).exit_code == 0
    before = picture.read_bytes()
    assert before[:8] == b"\x89PNG\r\n\x1a\n"
    again = invoke(*arguments)
    assert again.exit_code != 0 and "exists" in again.output
    assert picture.read_bytes() == before


def test_certify_lists_every_layer_and_succeeds_for_a_contraction(digits_run):
    result = invoke("certify", digits_run)
    assert result.exit_code == 0, result.output
    certificate = json.loads(result.output)
    layers = [layer for block in certificate["blocks"] for layer in block["layers"]]
    assert len(certificate["blocks"]) == 2 and len(layers) == 6
    assert all(layer["norm_bound"] <= layer["coeff"] * 1.002 for layer in layers)


def test_certify_fails_where_a_block_is_no_contraction(digits_run, tmp_path):
    model = irn.load(digits_run)
    run = RunFolder(tmp_path / "loose")
    run.create(json.loads((digits_run / "config.json").read_text()))
    # These vectors do not fit the kernel, so it is not divided by its norm.
    for layer in irn.layers.spectral_layers(model):
        layer.kernel.assign(layer.kernel * 10.0)
        layer.left_vector.assign(layer.left_vector * 0.0)
    keras.Model.save(model, run.model)  # The method of the model would refine them.
    with pytest.warns(UserWarning, match="refresh"):
        assert invoke("certify", run.path).exit_code == 1


def test_an_existing_run_is_left_as_it_was(toy_run):
    before = {path: path.read_bytes() for path in toy_run.rglob("*") if path.is_file()}
    result = invoke("train", "toy-checkerboard", "--out", toy_run, "--steps", 1)
    assert result.exit_code != 0
    assert "exists already" in result.output and "--resume" in result.output
    assert {path: path.read_bytes() for path in toy_run.rglob("*") if path.is_file()} == before


def test_unknown_presets_and_fields_are_named(tmp_path):
    result = invoke("train", "digits-dense", "--out", tmp_path / "run")
    assert result.exit_code != 0 and "digits-dense" in result.output
    assert "digits-density" in result.output
    result = invoke("train", "digits-density", "model.widht=3", "--out", tmp_path / "run")
    assert result.exit_code != 0 and "model.widht" in result.output
    result = invoke("train", "digits-density", "model.coeff=1.5", "--out", tmp_path / "run")
    assert result.exit_code != 0 and "model.coeff" in result.output and "1.5" in result.output
    assert not (tmp_path / "run").exists()


def test_a_truncated_model_is_named_and_left_alone(toy_run, tmp_path):
    run = RunFolder(tmp_path / "cut")
    run.create(json.loads((toy_run / "config.json").read_text()))
    whole = (toy_run / "model.keras").read_bytes()
    run.model.write_bytes(whole[: len(whole) // 2])
    result = invoke("evaluate", run.path)
    assert result.exit_code != 0
    assert str(run.model) in result.output and "truncated" in result.output
    assert run.model.read_bytes() == whole[: len(whole) // 2]


def test_a_folder_without_a_run_says_what_to_do(tmp_path):
    result = invoke("evaluate", tmp_path)
    assert result.exit_code != 0 and "iresnet train" in result.output


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns a run of two epochs that was not interrupted."""
    preset = presets.get("toy-moons", [*SMALL_TOY, "optimizer.ema=0.9"]).with_length(steps=6)
    preset = preset.model_copy(update={"steps_per_epoch": 3, "batch_size": 32})
    run = RunFolder(tmp_path_factory.mktemp("runs") / "whole")
    training.train(preset, run.path, seed=5)
    return run


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_resuming_gives_the_weights_of_an_uninterrupted_run(epochs, whole, tmp_path):
    """A run that is interrupted after none, one or all of its epochs ends equal to the bit."""
    cut = RunFolder(shutil.copytree(whole.path, tmp_path / "cut"))
    cut.model.unlink()
    cut.result.unlink()
    for checkpoint in cut.latest_checkpoints()[: 2 - epochs]:
        checkpoint.unlink()
    if not epochs:
        shutil.rmtree(cut.checkpoints)
    result = invoke("train", "toy-moons", "--out", cut.path, "--resume")
    assert result.exit_code == 0, result.output
    first, second = irn.load(whole.path), irn.load(cut.path)
    for one, other in zip(first.weights, second.weights):
        if "seed_state" not in one.path:
            np.testing.assert_array_equal(one, other, err_msg=one.path)
    one, other = (json.loads(run.result.read_text())["nll"] for run in (cut, whole))
    assert one == other
    np.testing.assert_array_equal(
        first.sample(4, temperature=0.7, seed=1), second.sample(4, temperature=0.7, seed=1)
    )


def test_a_resumed_run_skips_a_truncated_checkpoint(toy_run, tmp_path):
    preset = presets.get("toy-moons", SMALL_TOY).with_length(steps=4)
    preset = preset.model_copy(update={"steps_per_epoch": 2, "batch_size": 32})
    run = RunFolder(tmp_path / "run")
    training.train(preset, run.path)
    newest = run.latest_checkpoints()[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    run.result.unlink()
    result = invoke("train", "toy-moons", "--out", run.path, "--resume")
    assert result.exit_code == 0, result.output


def test_a_table_of_samples_may_lie_beside_a_picture(toy_run, tmp_path):
    for suffix in ("png", "csv"):
        result = invoke("sample", toy_run, "--count", 4, "--out", tmp_path / f"points.{suffix}")
        assert result.exit_code == 0, result.output
    assert len((tmp_path / "points.csv").read_text().splitlines()) == 5


def test_one_override_may_stand_alone():
    assert irn.presets.get("digits-density", "model.width=16").model.width == (16,)


def test_loading_nothing_names_what_there_is():
    with pytest.raises(FileNotFoundError, match="digits-density"):
        irn.load("cifar")
