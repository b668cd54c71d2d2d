"""The command trains, evaluates, samples and certifies a table of mixed columns."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf.cli import main
from iresnet_tf.training import presets

COUNT = 600


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, COUNT)
    return pd.DataFrame(
        {
            "grade": np.array(["low", "middle", "high"])[label],
            "height": rng.normal(1.7 + 0.1 * label, 0.1),
            "visits": pd.array(np.where(rng.random(COUNT) < 0.1, None, label + 2), "Int64"),
            "site": "north",
        }
    )


@pytest.fixture(scope="module")
def trained(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    irn.columns.write(folder / "table.csv", frame)
    small = ["model.blocks=1", "model.width=8", "model.depth=1", "intra_op_threads=none"]
    small += ["steps_per_epoch=3", "batch_size=64", "--steps", 6]
    kinds = ["--column", "grade=categorical low < middle < high"]
    result = invoke("train", "tabular", "--csv", folder / "table.csv", *small, *kinds,
                    "--out", folder / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "run", result


def test_the_inferred_kinds_are_printed(trained):
    _, result = trained
    lines = result.stderr.splitlines()
    assert any(
        "grade" in line and "ordered categorical: low, middle, high" in line for line in lines
    )
    assert any("visits" in line and "integer [2, 4]" in line for line in lines)
    assert any("site" in line and "constant 'north'" in line for line in lines)


def test_the_result_says_what_its_likelihood_counts(trained, frame):
    run, _ = trained
    printed = json.loads(invoke("evaluate", run).output)
    assert printed["table"]["unit"].startswith("nats per row")
    assert printed["table"]["densities"] == ["height"]
    assert printed["table"]["probabilities"] == ["grade", "visits"]
    assert printed["table"]["constant"] == ["site"]
    assert printed["nll"]["examples"] == COUNT // 5 and printed["nll"]["passes"] == 5
    model = irn.load(run)
    order = np.random.default_rng(0).permutation(COUNT)[: COUNT // 5]
    test = pd.read_csv(run.parent / "table.csv").iloc[order]
    draws = [-model.log_prob_rows(test, draws=1, seed=seed).mean() for seed in range(5)]
    # Two means of five draws each, with other noise.
    error = 4.0 * np.hypot(printed["nll"]["standard_error"], np.std(draws) / np.sqrt(5))
    assert abs(np.mean(draws) - printed["nll"]["mean"]) < error
    assert printed["table"]["sharper"] <= printed["nll"]["mean"]
    assert json.loads((run / "result.json").read_text())["table"] == printed["table"]


def test_samples_are_a_table_like_the_data(trained, frame, tmp_path):
    run, _ = trained
    for suffix in ("csv", "parquet"):
        result = invoke("sample", run, "--count", 50, "--out", tmp_path / f"a.{suffix}")
        assert result.exit_code == 0, result.output
    again = irn.columns.read(tmp_path / "a.csv")
    pd.testing.assert_series_equal(again.dtypes, irn.columns.read(run.parent / "table.csv").dtypes)
    assert set(again["grade"]) <= {"low", "middle", "high"} and set(again["site"]) == {"north"}
    assert again["visits"].dropna().between(2, 4).all()
    found = pd.read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(found, irn.load(run).sample_rows(50, seed=0))


def test_pictures_and_certificates_are_those_of_any_run(trained, tmp_path):
    run, _ = trained
    for command in ("sample", "reconstruct"):
        result = invoke(command, run, "--count", 20, "--out", tmp_path / f"{command}.png")
        assert result.exit_code == 0, result.output
    assert invoke("certify", run).exit_code == 0


def test_the_kinds_of_a_run_stay_when_it_is_resumed(trained):
    run, _ = trained
    noted = json.loads((run / "config.json").read_text())["preset"]["data"]["table"]["kinds"]
    assert noted == {"grade": "categorical low < middle < high"}
    result = invoke("train", "tabular", "--out", run, "--resume", "--column", "visits=numeric")
    assert result.exit_code == 1 and "data.table.kinds.visits" in result.output


def test_kinds_are_an_override_of_a_preset():
    preset = presets.get("tabular", ['data.table.kinds={"a": "drop"}'])
    assert preset.data.table.kinds == {"a": "drop"}
    with pytest.raises(ValueError, match="not valid JSON"):
        presets.get("tabular", ['data.table.kinds={"a"}'])


def test_a_run_is_extended_with_the_same_schema(trained):
    run, _ = trained
    before = irn.load(run).schema.get_config()
    result = invoke("train", "tabular", "--out", run, "--resume", "--steps", 9)
    assert result.exit_code == 0, result.output
    assert json.loads((run / "result.json").read_text())["steps"] == 9
    assert irn.load(run).schema.get_config() == before
