"""Tests that one's own pictures train, evaluate and sample by one command each."""

import json

import numpy as np
import pytest
from commands import invoke
from PIL import Image

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.training import presets
from iresnet_tf.training.run_folder import RunFolder

SMALL = [
    *("model.blocks=1,1", "model.width=4", "intra_op_threads=none", "evaluation_examples=8"),
    *("--steps", 1, "--batch-size", 8),
]
SIZES = [(40, 30), (64, 48), (32, 32), (100, 80)]


def photos(folder):
    """Writes 200 pictures of four sizes in two classes; 20 JPEGs are grey, 20 PNGs have alpha."""
    rng = np.random.default_rng(0)
    for number in range(200):
        width, height = SIZES[number % 4]
        name = folder / ("round", "square")[number % 2] / f"{number:03}.jpg"
        name.parent.mkdir(parents=True, exist_ok=True)
        levels = np.linspace(0, rng.integers(100, 256), width)
        picture = Image.fromarray(np.tile(levels[None, :, None], (height, 1, 3)).astype(np.uint8))
        if number % 10 == 3:
            picture = picture.convert("L")
        elif number % 10 == 7:
            picture.putalpha(128)
            name = name.with_suffix(".png")
        picture.save(name)
    return folder


def done(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("mine") / "photos")


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The run of a small density on the pictures, and what the command printed."""
    run = tmp_path_factory.mktemp("runs") / "photos"
    size = "data.size=8"
    result = done("train", "image-density", "--folder", folder, size, *SMALL, "--out", run)
    return RunFolder(run), result


def test_a_folder_trains_by_one_command_that_says_what_it_found(trained, folder):
    run, result = trained
    assert json.loads(result.stdout)["preset"] == "image-density"
    for line in (
        f"{folder}:",
        "  200 pictures of 4 sizes, height×width: 30×40 (50), 32×32 (50), 48×64 (50), 80×100 (50)",
        "  the central square of each is resized to 8×8",
        "  180 have colours, 20 are grey; 3 channels",
        "grey is repeated in every colour (20); what is transparent is laid over white (20)",
        "  2 classes, from 0 on: round (100), square (100)",
        "  160 train, 40 test (the test is 0.2 of each class, drawn by seed 0)",
    ):
        assert line in result.stderr
    data = run.read_run().preset.data
    assert (data.name, data.folder, data.size) == ("images", str(folder), 8)
    assert len(data.sha256) == 64


def test_a_run_of_a_folder_is_evaluated_and_sampled_by_one_command_each(trained, tmp_path):
    run, _ = trained
    evaluation = json.loads(done("evaluate", run.path, "--examples", 8).stdout)
    result = run.read_result(1)
    # The command measures the same examples as the training did.
    assert evaluation["bits_per_dim"]["mean"] == pytest.approx(
        result["bits_per_dim"]["mean"], abs=1e-3
    )
    done("sample", run.path, "--count", 4, "--out", tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size[0] > 50


@pytest.mark.parametrize("command", ["resume", "evaluate", "sample"])
def test_changed_pictures_are_noticed(command, trained, folder, tmp_path):
    run, _ = trained
    changed = folder / "round" / "000.jpg"
    before = changed.read_bytes()
    arguments = {
        "resume": ["train", "image-density", "--out", run.path, "--resume", "--steps", 2],
        "evaluate": ["evaluate", run.path],
        "sample": ["sample", run.path, "--out", tmp_path / "x.png"],
    }[command]
    try:
        Image.new("RGB", SIZES[0]).save(changed)
        result = invoke(*arguments)
    finally:
        changed.write_bytes(before)
    assert result.exit_code == 1
    assert f"The pictures in {folder} have changed since the run began" in result.stderr


def test_another_folder_does_not_continue_a_run(trained, tmp_path):
    run, _ = trained
    resume = ["train", "image-density", "--out", run.path, "--resume", "--folder", tmp_path]
    result = invoke(*resume)
    assert result.exit_code == 1 and "data.folder is" in result.stderr


def test_every_preset_for_images_takes_a_folder_relative_to_where_it_is_named(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    preset = presets.get("mnist-density-small", ["data.folder=mine", "data.validation_examples=0"])
    assert preset.data.folder == str(tmp_path / "mine") and preset.data.name == "images"
    assert presets.replaced(preset, []) == preset
    home = presets.get("image-density", "data.npz=~/x.npz").data.npz
    assert home.startswith("/") and "~" not in home


@pytest.mark.parametrize("preset", ["image-hybrid", "image-classifier"])
@pytest.mark.slow
def test_arrays_with_classes_train_every_task(preset, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "data.npz", x_train=x, y_train=labels, x_val=x[:8], y_val=labels[:8])
    run = tmp_path / "run"
    result = done("train", preset, "--npz", tmp_path / "data.npz", *SMALL, "--out", run)
    assert "32 train, 8 validation, 8 test" in result.stderr and "2 classes" in result.stderr
    # The validation pictures of the file are used without being asked for.
    assert all(np.isfinite(line["val_loss"]) for line in RunFolder(run).read_history())
    assert RunFolder(run).best.is_file()


@pytest.mark.slow
def test_arrays_train_from_python(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 6)).astype(np.uint8)
    source = irn.data.image_arrays(x, pad_to=8)
    small = [option for option in SMALL if "=" in str(option)]
    preset = presets.get("image-density", [*small, "batch_size=8"]).with_length(steps=1)
    result = training.train(preset, tmp_path / "run", source=source)
    assert result["bits_per_dim"]["examples"] == 8
