"""Tests every trained model that ships against its card."""

import hashlib
import json
import math
import os
import pathlib
import shlex

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import iresnet_tf as irn
from iresnet_tf import training
from iresnet_tf.analysis.evaluation import classification
from iresnet_tf.analysis.likelihood import choose_estimator, likelihood
from iresnet_tf.cli import main
from iresnet_tf.data import ArraySource, images
from iresnet_tf.layers.spectral import SpectralLayer
from iresnet_tf.numerics import log_det
from iresnet_tf.training import presets
from iresnet_tf.training.assembly import build_model
from iresnet_tf.training.configuration import parsed

NAMES = training.pretrained_names()
FOLDER = pathlib.Path(irn.__file__).parent / "pretrained"
SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tfds"
DATA_DIR = os.environ.get("TFDS_DATA_DIR", str(SHARED))

every_model = pytest.mark.parametrize("name", NAMES)


def test_there_is_a_card_for_each_model_and_all_are_small_enough():
    cards, models = (
        sorted(path.stem for path in FOLDER.glob(f"*.{end}")) for end in ("json", "keras")
    )
    assert cards == models == sorted(NAMES) and "digits-density" in NAMES
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) <= 25e6


@every_model
def test_a_card_describes_its_file_and_has_the_figures_of_its_task(name):
    card = training.card(name)
    assert card.name == name
    assert card.sha256 == hashlib.sha256((FOLDER / f"{name}.keras").read_bytes()).hexdigest()
    task, figures = card.run.preset.task, card.figures
    assert task.has_density == (figures.bits_per_dim is not None or figures.nll is not None)
    assert task.takes_classes == (figures.classification is not None)
    if figures.bits_per_dim is not None:
        assert 0.0 <= figures.bits_per_dim.truncation_bound <= 0.005
    assert figures.lipschitz.certified_max == max(figures.lipschitz.per_block.values()) < 1.0
    assert card.curve[-1]["step"] == card.run.preset.steps


@every_model
def test_the_command_of_a_card_asks_for_its_configuration(name):
    card = training.card(name)
    command, subcommand, *arguments = shlex.split(card.command())
    asked = main.commands[subcommand].make_context(subcommand, arguments).params
    preset = presets.get(asked["preset"], asked["overrides"])
    assert command == "iresnet" and (asked["seed"] or 0) == card.run.seed
    assert preset.model_dump(exclude={"source"}) == card.run.preset.model_dump(exclude={"source"})


def test_the_command_of_a_card_names_what_the_catalogue_has_otherwise():
    card = training.card("digits-density")
    preset = presets.get("digits-density", ["model.blocks=2,3", "optimizer.clip_norm=0.5"])
    other = card.model_copy(
        update={"run": card.run.model_copy(update={"preset": preset, "seed": 4})}
    )
    changes = "model.blocks=2,3 optimizer.clip_norm=0.5 --seed 4"
    assert other.command() == f"iresnet train digits-density --out RUN {changes}"


@every_model
def test_a_model_has_the_weights_that_its_preset_makes(name, monkeypatch):
    # The first singular vectors of large layers take seconds; loading replaces them.
    for start in ("_initial_right", "_initial_left"):
        monkeypatch.setattr(SpectralLayer, start, lambda layer, shape, dtype=None: tf.zeros(shape))
    card, model = training.card(name), irn.load(name)
    noise = np.random.default_rng(0).integers(0, 256, (8, *model.flow.event_shape))
    classes = np.arange(8)
    levels = 256 if model.has_density is False else model.dequantize.levels
    facts = {"levels": levels, "classes": model.classes or 10}
    source = ArraySource("noise", {"train": (noise % levels, classes)}, **facts)
    made = build_model(card.run.preset, source, seed=0)
    shapes = [
        [tuple(weight.shape) for weight in each.trainable_variables] for each in (made, model)
    ]
    assert shapes[0] == shapes[1]
    assert sum(map(math.prod, shapes[1])) == card.parameters
    assert irn.analysis.certify(model).certified


@every_model
def test_a_sample_of_the_test_set_is_within_the_errors_of_the_card(name, data_dir):
    card = training.card(name)
    data, folder = card.run.preset.data.name, data_dir
    if data != "digits":
        folder = DATA_DIR
        if not tfds.builder(images.NAMES[data], data_dir=folder).is_prepared():
            pytest.skip(f"{data} is not prepared in {folder}")
    model, count = irn.load(name), 40
    x, y = training.open_source(card.run.preset, data_dir=folder).examples("test", count)
    if (stated := card.figures.bits_per_dim) is not None:
        estimator = choose_estimator(model)
        if isinstance(estimator, log_det.Coloured) and "Coloured" not in stated.estimator:
            estimator = estimator.series  # The card has plain probes, of the same truncation.
        found = likelihood(model, x, estimator=estimator, passes=1)
        assert found.estimator == stated.estimator
        noise = stated.standard_error * math.sqrt(stated.passes)
        error = math.hypot(stated.sampling_error, noise) * math.sqrt(stated.examples / count)
        assert abs(found.mean - stated.mean) < 4.0 * error
    if (accuracy := card.figures.accuracy) is not None:
        found, _ = classification(model, x, y)
        assert (
            abs(found - accuracy) < 4.0 * math.sqrt(accuracy * (1.0 - accuracy) / count) + 1 / count
        )


def test_samples_of_the_digits_have_their_levels():
    assert set(np.unique(irn.load("digits-density").sample(8, seed=0))) <= set(range(17))


@pytest.mark.parametrize(
    "field, value, named",
    [("sha256", "abc", "sha256"), ("parameters", 0, "parameters"), ("colour", 1, "colour"),
     ("run", {"preset": {"batch_size": 0}, "seed": 0}, "batch_size")],
)  # fmt: skip
def test_a_card_that_is_not_valid_is_refused_by_the_name_of_the_field(field, value, named):
    fields = json.loads((FOLDER / "digits-density.json").read_text())
    with pytest.raises(ValueError, match=named):
        parsed(training.ModelCard, {**fields, field: value})


def test_there_is_no_card_of_a_model_that_does_not_ship():
    with pytest.raises(FileNotFoundError, match="digits-density"):
        training.card("mnist")
