"""Runs every command on small data: batches of one image, one class, a partial last batch."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from commands import invoke

SMALL = [
    "model.blocks=1,1",
    "model.width=4",
    "model.dense_blocks=0",
    "model.squeeze=true",
    "intra_op_threads=none",
]
TINY = ["data.only_class=1", "data.validation_examples=3", "--batch-size", 1, "--steps", 2]


class Colours(tfds.core.GeneratorBasedBuilder):
    """A TFDS set of 8×8 colour images of three classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {
            split: self._generate_examples(seed) for seed, split in enumerate(("train", "test"))
        }

    def _generate_examples(self, seed):
        random = np.random.default_rng(seed)
        for number in range(390):
            image = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            yield number, {"image": image, "label": number % 3}


def succeed(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "tfds:colours"])
@pytest.mark.parametrize("kind", ["density", "classifier", "hybrid"])
def test_every_mode_takes_the_smallest_data(kind, data, tmp_path, data_dir):
    run, where = tmp_path / "run", ["--data-dir", data_dir]
    succeed("train", f"digits-{kind}", "--out", run, f"data.name={data}", *SMALL, *TINY, *where)
    # 130 colours are a batch of 128 and a partial one; there are fewer digits.
    for examples in (130, 1):
        result = json.loads(succeed("evaluate", run, "--examples", examples, "--passes", 1, *where))
        for figure in ("accuracy", "bits_per_dim"):
            value = result.get(figure, 0.0)
            assert np.isfinite(value["mean"] if isinstance(value, dict) else value)
        assert result["reconstruction"]["max_abs_error"] < 1e-2
        assert result["lipschitz"]["certified_max"] < 1.0
    pictures = {"reconstruct": ["--count", 1], "interpolate": ["--pairs", 1, "--steps", 2]}
    if kind != "classifier":
        pictures["sample"] = ["--count", 1]
    for command, options in pictures.items():
        succeed(command, run, *options, "--out", tmp_path / f"{command}.png", *where)
        assert (tmp_path / f"{command}.png").is_file()
    # A classifier with padding has no log-determinant to study.
    studies = (
        ("spectrum", "inverse") if kind == "classifier" else ("spectrum", "inverse", "log-det")
    )
    for study in studies:
        succeed("analyze", run, study, "--examples", 1, "--out", tmp_path / f"{study}.png", *where)
        assert json.loads((tmp_path / f"{study}.json").read_text())
    succeed("certify", run)
