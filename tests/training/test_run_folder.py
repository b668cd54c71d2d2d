"""Tests that damaged and foreign files of a run are named, and that nothing is lost by them."""

import functools
import json
import re
import shutil

import keras
import pytest
from click.testing import CliRunner
from small_runs import CONSTANT, FIELDS, NAME, content, copied, cut_off, train

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.cli import main
from iresnet_tf.training import continuation, presets
from iresnet_tf.training.model_files import load_model

# Pictures take longer than the steps of small runs, and must not change their weights.
pytestmark = pytest.mark.usefixtures("without_pictures")


def assert_one_line(result, *parts):
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    line = result.stderr.strip()
    assert line.startswith("Error: ") and "\n" not in line
    for part in parts:
        assert str(part) in line


CONFIG = '{"preset": %s, "seed": %s}'
FINE = json.dumps(presets.get(NAME, FIELDS).model_dump(mode="json"))


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("config.json", "", "is damaged"),
        ("config.json", '{"preset": {', "is damaged"),
        ("config.json", "\\xff\\xfe", "is damaged"),
        ("config.json", "[" * 100_000, "RecursionError"),
        ("config.json", "9" * 5000, "is damaged"),
        ("config.json", "[1]", "describes no run"),
        ("config.json", "{}", "describes no run. The configuration is not valid. preset"),
        ("config.json", CONFIG % ('"toy-moons"', 0), "preset"),
        *(
            ("config.json", CONFIG % ("[" * n + "]" * n, 0), "Restore")
            for n in (100, 700, 950, 5000)
        ),
        ("config.json", CONFIG % (FINE, '"one"'), "seed"),
        ("config.json", CONFIG % (FINE, -1), "seed"),
        ("config.json", CONFIG % (FINE.replace('"width": 4', '"width": "w"'), 0), "model.width"),
        ("config.json", CONFIG % (FINE, 0) + " {}", "is damaged"),
        ("config.json", None, "cannot be read: Is a directory"),
        ("history.jsonl", "\n", "line 1, is damaged"),
        ("history.jsonl", '{"epoch": 1, "step": 2}\n{"epoch": 2\n', "line 2, is damaged"),
        ("history.jsonl", "[" * 100_000 + "\n", "RecursionError"),
        ("history.jsonl", "[]\n", "line 1, is not"),
        ("history.jsonl", '{"epoch": 1}\n', "line 1, is not"),
        ("history.jsonl", '{"epoch": 1, "step": "2"}\n', "line 1, is not"),
        ("history.jsonl", '{"epoch": 1, "step": 2, "nll": "low"}\n', "line 1, is not"),
        ("history.jsonl", None, "cannot be read: Is a directory"),
        ("seconds.json", "{", "is damaged"),
        ("seconds.json", '{"wall_seconds": 1.0}', "does not hold the numbers"),
        ("seconds.json", '{"wall_seconds": 1.0, "cpu_seconds": "2"}', "does not hold"),
    ],
)
def test_a_damaged_file_is_named_with_a_remedy(file, text, message, finished, tmp_path):
    cut = cut_off(finished, tmp_path / "cut")
    path = cut.path / file
    path.unlink()
    path.mkdir() if text is None else path.write_text(text, encoding="latin-1")
    before = content(cut)
    result = train(cut.path, "--resume")
    remedy = {"config.json": "Restore the file", "history.jsonl": "remove the line"}
    assert_one_line(result, path, message, remedy.get(file, "Remove the file"))
    assert content(cut) == before


def test_an_incomplete_last_line_of_the_history_is_that_of_a_killed_run(finished, tmp_path):
    run = copied(finished, tmp_path / "run")
    whole = run.read_history()
    with run.history.open("a") as file:
        file.write('{"epoch": 3, "st')
    assert run.read_history() == whole


def make_stock():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    return model


def write_stock(path, run):
    make_stock().save(path)


def write_without_optimizer(path, run):
    model = load_model(run.checkpoint(2))
    bare = type(model).from_config(model.get_config())
    bare.build((None, 2))
    bare.save(path)


def write_of_another_step(path, run):
    shutil.copy(run.checkpoint(2), path)


def write_of_another_model(path, run):
    preset = presets.get(NAME, [*FIELDS, CONSTANT, "model.width=5"]).with_length(steps=4)
    model = training.assembly.build_model(preset, training.open_source(preset), seed=0)
    training.assembly.compile_model(model, preset)
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(4)
    model.save(path)


UNUSABLE = {
    "a folder": (lambda path, run: path.mkdir(), "no model at"),
    "a dead link": (lambda path, run: path.symlink_to("nowhere"), "no model at"),
    "an empty file": (lambda path, run: path.touch(), "could not be read"),
    "half a file": (
        lambda path, run: path.write_bytes(run.checkpoint(2).read_bytes()[:2000]),
        "could not be read",
    ),
    "a stock model": (write_stock, "Sequential, which is no model of this package"),
    "a model without optimizer": (write_without_optimizer, "no optimizer"),
    "another step": (write_of_another_step, "the step is 2, not 4"),
    "another model": (write_of_another_model, "is 5, but the configuration says 4"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_older_checkpoint_is_used_where_the_newest_cannot_be(kind, finished, tmp_path):
    cut = cut_off(finished, tmp_path / "cut")
    write, message = UNUSABLE[kind]
    write(cut.checkpoint(4), cut)
    run = cut.read_run()
    model, unusable = continuation.restored(cut, run, training.open_source(run.preset))
    assert int(model.optimizer.iterations) == 2
    assert list(unusable) == [cut.checkpoint(4)] and message in unusable[cut.checkpoint(4)]


def test_the_unusable_checkpoint_is_renamed_with_a_word(finished, tmp_path):
    cut = cut_off(finished, tmp_path / "cut")
    cut.checkpoint(4).mkdir()
    cut.checkpoint(1).mkdir()  # older than all, and never used
    with pytest.warns(UserWarning, match="earlier checkpoint, .* now step-00000004.keras.unusable"):
        result = train(cut.path, "--resume")
    assert result.exit_code == 0, result.output
    assert (cut.checkpoints / "step-00000004.keras.unusable").is_dir()
    assert cut.checkpoint(4).is_file()
    assert cut.read_history() == finished.read_history()


@pytest.mark.parametrize("kind", ["a stock model", "another model"])
def test_a_foreign_checkpoint_alone_is_refused_and_changes_nothing(kind, finished, tmp_path):
    cut = cut_off(finished, tmp_path / "cut")
    write, message = UNUSABLE[kind]
    write(cut.checkpoint(4), cut)
    cut.checkpoint(2).unlink()
    before = content(cut)
    assert_one_line(train(cut.path, "--resume"), cut.checkpoint(4), message, "another --out")
    assert content(cut) == before


CHANGES = {
    **{"model.blocks": 2, "model.width": 5, "model.coeff": 0.8, "model.activation": "elu"},
    **{"model.solver": "picard", "model.log_det.estimator": "power-series"},
    **{"task.prior": "learned", "optimizer.name": "sgd", "optimizer.learning_rate": 1e-3},
    **{"optimizer.ema": 0.5, "optimizer.clip_norm": 1, "optimizer.accumulation_steps": 2},
    **{"optimizer.log_det_share": 0.5, "optimizer.product_dtype": "bfloat16"},
    **{"steps": 6, "steps_per_epoch": 3},
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_configuration_that_does_not_fit_the_weights_is_found(field, finished, monkeypatch):
    monkeypatch.setattr(continuation, "load_flow", lambda path: cached(str(path)))
    run = finished.read_run()
    changed = presets.replaced(run.preset, [f"{field}={CHANGES[field]}"])
    assert changed != run.preset
    changed = run.model_copy(update={"preset": changed})
    source = training.open_source(run.preset)
    assert continuation.restored(finished, run, source)[0] is cached(str(finished.checkpoint(4)))
    with pytest.raises(ValueError, match="Restore the configuration"):
        continuation.restored(finished, changed, source)


cached = functools.cache(continuation.load_flow)


@pytest.mark.parametrize("field, value", [("blocks", 2), ("steps_per_epoch", 4)])
def test_a_changed_configuration_is_refused(field, value, finished, tmp_path):
    run = copied(finished, tmp_path / "run")
    text = run.config.read_text()
    changed = re.sub(rf'("{field}": )[0-9]+', rf"\g<1>{value}", text)
    assert changed != text
    run.config.write_text(changed)
    before = content(run)
    assert_one_line(train(run.path, "--resume"), run.config, "Restore the configuration")
    assert content(run) == before


def test_a_stock_model_in_place_of_the_trained_one_is_refused(finished, tmp_path):
    run = copied(finished, tmp_path / "run")
    make_stock().save(run.model)
    for command in ("evaluate", "certify"):
        result = CliRunner().invoke(main, [command, str(run.path)])
        assert_one_line(result, run.model, "Sequential, which is no model of this package")
    with pytest.raises(ValueError, match="Restore the file"):
        irn.load(run.path)


@pytest.mark.parametrize("resume", [[], ["--resume"]])
@pytest.mark.parametrize(
    "path, message",
    [
        ("x" * 300, "File name too long"),
        ("/".join(["x" * 200] * 25), "File name too long"),
        ("file/run", "Not a directory"),
        ("file", "Not a directory"),
        ("link", "is not a run folder"),
        ("loop", "Too many levels"),
        ("other", "is not a run folder"),
    ],
)
def test_a_place_for_no_run_is_refused_before_the_data_are_opened(
    path, message, resume, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr(training.runs, "open_source", None)
    assert_one_line(train(tmp_path / path, *FIELDS, *resume), path, message, "Choose another")


def test_an_existing_run_is_refused_before_the_data_are_opened(finished, monkeypatch):
    monkeypatch.setattr(training.runs, "open_source", None)
    assert_one_line(train(finished.path, *FIELDS), finished.path, "--resume")
