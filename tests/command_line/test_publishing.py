"""Tests the script that adds a run to the models that ship."""

import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.training import presets
from iresnet_tf.training.assembly import initialized_model
from iresnet_tf.training.configuration import parsed

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
SMALL = ["model.blocks=1", "model.width=64", "model.dense_blocks=0", "steps=2", "steps_per_epoch=1"]


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    try:
        import publish_pretrained

        yield publish_pretrained
    finally:
        sys.path.remove(str(SCRIPTS))


def written(path, name, data_dir, *overrides):
    """Writes the folder of a finished run, without training."""
    preset = presets.get(name, [*SMALL, *overrides])
    source = training.open_source(preset, data_dir=data_dir)
    model = initialized_model(preset, source, seed=0)
    run = training.RunFolder(path)
    run.create({"preset": preset.model_dump(mode="json"), "seed": 0})
    run.reopen([{"epoch": n, "step": n, "loss": 1.0, "bits_per_dim": 3.0 - n} for n in (1, 2)])
    model.optimizer.build(model.trainable_variables)
    model.save(run.model)
    evaluation = irn.analysis.evaluate(model, *source.examples("test")).as_dict()
    facts = {"preset": name, "seed": 0, "steps": 2, "parameters": 9, "wall_seconds": 2.0}
    run.result.write_text(json.dumps({**facts, "cpu_seconds": 1.0, **evaluation}))
    return run


@pytest.fixture(scope="module")
def density(tmp_path_factory, data_dir):
    return written(tmp_path_factory.mktemp("runs") / "density", "digits-density", data_dir)


@pytest.fixture
def publish(script, tmp_path, data_dir):
    """Returns a function that publishes a run to an empty folder, which it also returns."""
    folder = tmp_path / "shipped"
    folder.mkdir()

    def publish(run, *options):
        where = ["--into", folder, "--data-dir", data_dir]
        return folder, CliRunner().invoke(
            script.main, list(map(str, [run, "mine", *options, *where]))
        )

    return publish


def read(folder):
    return parsed(training.ModelCard, json.loads((folder / "mine.json").read_text()))


def test_a_run_is_published_with_its_figures_and_without_its_optimizer(publish, density):
    folder, done = publish(density.path)
    assert done.exit_code == 0, done.output
    card, result = read(folder), json.loads(density.result.read_text())
    assert card.figures.as_dict().items() <= result.items()
    assert card.run == density.read_run() and card.unrounded is None
    assert card.curve == ({"step": 1, "bits_per_dim": 2.0}, {"step": 2, "bits_per_dim": 1.0})
    assert "CC BY 4.0" in card.data_origin and card.versions["iresnet_tf"] == irn.__version__
    model, trained = irn.load(folder / "mine.keras"), density.load_model()
    assert not model.compiled
    for weight, other in zip(model.trainable_variables, trained.trainable_variables, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_half_precision_halves_the_file_and_states_the_figures_before_and_after(publish, density):
    folder, done = publish(density.path)
    whole = (folder / "mine.keras").stat().st_size
    (folder / "left.json").write_text("[0, 358]")
    folder, done = publish(density.path, "--half", "--leave-out", folder / "left.json")
    assert done.exit_code == 0, done.output
    assert (folder / "mine.keras").stat().st_size < 0.75 * whole
    model, trained = irn.load(folder / "mine.keras"), density.load_model()
    for weight, other in zip(model.trainable_variables, trained.trainable_variables, strict=True):
        assert weight.dtype == "float32"
        np.testing.assert_array_equal(weight, np.float32(np.float16(other)))
    assert irn.analysis.certify(model).certified
    card = read(folder)
    before, after = card.unrounded.bits_per_dim, card.figures.bits_per_dim
    assert before.examples == after.examples == 357 and card.left_out == (0, 358)
    # float16 has 11 significant bits.
    assert 0.0 < abs(before.mean - after.mean) < 2.0**-10 * before.mean


def test_half_precision_keeps_the_matrices_of_a_whitening(publish, tmp_path, data_dir):
    whitened = written(tmp_path / "run", "digits-density", data_dir, "model.whiten=true")
    folder, done = publish(whitened.path, "--half")
    assert done.exit_code == 0, done.output
    model, trained = irn.load(folder / "mine.keras"), whitened.load_model()
    pairs = [*zip(model.variables, trained.variables, strict=True)]
    kept = [pair for pair in pairs if "whiten" in pair[0].path]
    assert len(kept) > 3
    for weight, other in kept:
        np.testing.assert_array_equal(weight, other)
    assert any(np.any(weight.numpy() != other.numpy()) for weight, other in pairs)


@pytest.mark.slow
def test_a_model_that_ships_is_rounded_with_its_figures_before(publish):
    folder, done = publish("digits-density", "--half")
    assert done.exit_code == 0, done.output
    card, before = read(folder), training.card("digits-density")
    assert card.run == before.run and card.curve == before.curve
    assert card.unrounded == before.figures and card.parameters == before.parameters
    assert abs(card.figures.bits_per_dim.mean - before.figures.bits_per_dim.mean) < 1e-3


def test_a_model_that_ships_is_rounded_once(publish):
    folder, done = publish("mnist-density", "--half")
    assert "rounded to float16 already" in done.output and not list(folder.iterdir())


def test_a_run_that_has_not_finished_is_refused(publish, density, tmp_path):
    run = training.RunFolder(shutil.copytree(density.path, tmp_path / "run"))
    run.result.unlink()
    folder, done = publish(run.path)
    assert done.exit_code != 0 and "has not finished" in done.output and not list(folder.iterdir())


def test_a_truncation_bound_that_is_too_large_is_refused(publish, density, tmp_path):
    run = training.RunFolder(shutil.copytree(density.path, tmp_path / "run"))
    result = json.loads(run.result.read_text())
    for bound, refused in ((0.005, False), (0.0051, True), (None, True)):
        result["bits_per_dim"]["truncation_bound"] = bound
        run.result.write_text(json.dumps(result))
        folder, done = publish(run.path)
        assert (done.exit_code != 0) is refused, done.output
        assert ("truncation bound" in done.output) is refused


def test_a_block_that_is_not_certified_is_refused(publish, tmp_path, data_dir):
    free = ["model.blocks=1,1", "model.coeff=none"]
    run = written(tmp_path / "run", "digits-classifier", data_dir, *free)
    folder, done = publish(run.path)
    assert done.exit_code != 0 and "not certified" in done.output and not list(folder.iterdir())


def test_more_than_there_is_room_for_is_refused(publish, density, script, monkeypatch):
    folder, done = publish(density.path)
    size = (folder / "mine.keras").stat().st_size
    (folder / "mine.keras").rename(folder / "another.keras")
    monkeypatch.setattr(script, "MAX_BYTES", 2 * size - 1)
    folder, done = publish(density.path)
    assert done.exit_code != 0 and "All models together" in done.output
    monkeypatch.setattr(script, "MAX_BYTES", 3 * size)
    assert publish(density.path)[1].exit_code == 0


def test_data_of_unknown_license_are_refused(publish, density, tmp_path):
    run = training.RunFolder(shutil.copytree(density.path, tmp_path / "run"))
    run.config.write_text(run.config.read_text().replace('"digits"', '"svhn"'))
    folder, done = publish(run.path)
    assert done.exit_code != 0 and "license of svhn" in done.output and not list(folder.iterdir())
