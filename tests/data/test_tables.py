"""Tests which tables are read and refused, and a run on a table."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import iresnet_tf as irn
from iresnet_tf.cli import main
from iresnet_tf.data import sources, tables
from iresnet_tf.data.source import SPLITS
from iresnet_tf.training.run_folder import RunFolder

ROWS = np.random.default_rng(0).normal(size=(50, 3)) * [2.0, 0.1, 30.0] + [5.0, 0.0, -400.0]
NAMES = ("height", "width, mm", "mass")


def written(path, rows, header=None):
    tables.write(path, header or rows[0], rows if header else rows[1:])
    return path


@pytest.fixture
def table(tmp_path):
    return written(tmp_path / "table.csv", ROWS, NAMES)


def test_a_csv_file_gives_its_columns_and_values(table):
    found = tables.load(table)
    assert found.columns == NAMES
    np.testing.assert_array_equal(found.values, ROWS.astype(np.float32))


def test_columns_without_a_header_and_of_arrays_are_numbered(tmp_path):
    np.savetxt(tmp_path / "table.csv", ROWS, delimiter=",")
    np.save(tmp_path / "table.npy", ROWS)
    for name in ("table.csv", "table.npy"):
        found = tables.load(tmp_path / name)
        assert found.columns == ("x1", "x2", "x3")
        np.testing.assert_allclose(found.values, ROWS, rtol=1e-6)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,b\n1,2\n3,\n", r"line 3: column 'b' is empty"),
        ("a,b\n1,2\n3,red\n", r"line 3: column 'b' holds 'red'"),
        ("a,b\n1,2\nnan,3\n", r"line 3: column 'a' holds 'nan'"),
        ("a,b\n1,2\n4,2\n", r"column 'b' is constant, 2"),
        ("a,b\n1,2\n3,4,5\n", r"line 3: 3 cells, where the first row has 2"),
        ("a,b\n1,2\n", "1 rows"),
        ("a,b\n1,1700000000\n2,1700000001\n", "column 'b' varies by 0.5 .* Subtract"),
        ("", "is empty"),
    ],
)
def test_a_column_that_is_not_all_numbers_is_named_with_its_row(text, message, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        tables.load(path)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "column 'x2' is nan in row 1"),
        (np.array([["a"], ["b"]]), "real numbers"),
        (np.arange(3.0), r"shape \(3,\)"),
        (np.array([[1.0], [None]]), "no array of numbers"),
    ],
)
def test_an_array_that_is_no_table_of_numbers_is_refused(array, message, tmp_path):
    np.save(tmp_path / "table.npy", array)
    with pytest.raises(ValueError, match=message):
        tables.load(tmp_path / "table.npy")


def test_the_splits_part_the_rows_and_the_seed_decides_which(table):
    source = sources.get("table", validation_examples=5, table={"file": table})
    parts = [source.examples(split)[0] for split in SPLITS]
    assert [len(part) for part in parts] == [35, 5, 10]
    together = np.concatenate(parts)
    np.testing.assert_array_equal(
        together[np.lexsort(together.T)],
        ROWS.astype(np.float32)[np.lexsort(ROWS.astype(np.float32).T)],
    )
    again = sources.get("table", validation_examples=5, table={"file": table})
    np.testing.assert_array_equal(again.examples("test")[0], parts[2])
    other = sources.get("table", table={"file": table, "split_seed": 1})
    assert np.any(other.examples("test")[0] != parts[2])


def test_splits_and_options_that_leave_nothing_to_train_on_are_refused(table):
    with pytest.raises(ValueError, match="too few"):
        sources.get("table", validation_examples=40, table={"file": table})
    with pytest.raises(ValueError, match="are for images"):
        sources.get("table", size=8, table={"file": table})
    with pytest.raises(ValueError, match="--csv FILE"):
        sources.get("table")


# A run.


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tabular")
    rows = np.random.default_rng(1).normal(size=(400, 3)) * [2.0, 0.1, 30.0] + [5.0, 0.0, -400.0]
    table = written(folder / "table.csv", rows, NAMES)
    small = ["model.blocks=1", "model.width=8", "model.depth=1", "intra_op_threads=none"]
    small += ["steps_per_epoch=3", "batch_size=64"]
    small += ["data.name=table", "data.preprocessing=standardize"]
    result = invoke("train", "tabular", "--csv", table, *small, "--steps", 6, "--out",
                    folder / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "run"


def test_the_run_notes_the_table_and_its_digest(run):
    noted = json.loads((run / "config.json").read_text())["preset"]["data"]["table"]
    path = run.parent / "table.csv"
    assert noted["file"] == str(path.resolve())
    assert noted["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_likelihood_is_in_the_table_s_own_units(run):
    """The density integrates to 1 in the units of the table, not of the standardized data."""
    model = irn.load(run)
    for block in irn.layers.residual_blocks(model.flow):
        block.log_det = irn.log_det.Exact()
    low, high = ROWS.mean(0) - 9.0 * ROWS.std(0), ROWS.mean(0) + 9.0 * ROWS.std(0)
    # With quasi-random points of the box and a smooth density, an error of 1 % is expected.
    points = low + (high - low) * stats.qmc.Sobol(3, seed=0).random(2**16)
    mass = np.exp(model.predict(points, batch_size=2**14, verbose=0)).mean() * np.prod(high - low)
    np.testing.assert_allclose(mass, 1.0, atol=0.03)
    printed = json.loads(invoke("evaluate", run).output)["nll"]
    test = sources.get("table", table={"file": run.parent / "table.csv"}).examples("test")[0]
    np.testing.assert_allclose(printed["mean"], -np.mean(model.log_prob(test)), rtol=1e-5)
    assert printed["examples"] == 80


def test_samples_are_written_as_a_table_or_drawn(run, tmp_path):
    assert invoke("sample", run, "--count", 20, "--out", tmp_path / "a.csv").exit_code == 0
    found = tables.load(tmp_path / "a.csv")
    assert found.columns == NAMES
    np.testing.assert_allclose(found.values, irn.load(run).sample(20, seed=0), rtol=1e-6)
    for command in ("sample", "reconstruct"):
        result = invoke(command, run, "--count", 20, "--out", tmp_path / f"{command}.png")
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"{command}.png").read_bytes().startswith(b"\x89PNG")
    assert invoke("sample", run, "--out", tmp_path / "a.txt").exit_code != 0


def test_certify_certifies_a_tabular_run(run):
    assert invoke("certify", run).exit_code == 0


def test_a_table_that_has_changed_is_refused_on_resume(run, tmp_path):
    copy = RunFolder(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    table = tmp_path / "table.csv"
    table.write_text((run.parent / "table.csv").read_text())
    config["preset"]["data"]["table"]["file"] = str(table)
    copy.create(config)
    table.write_text(table.read_text() + "1,2,3\n")
    result = invoke("train", "tabular", "--resume", "--out", copy.path)
    assert result.exit_code != 0 and "has changed" in result.output and str(table) in result.output


def test_training_on_no_table_says_how_to_give_one(tmp_path):
    result = invoke("train", "tabular", "--out", tmp_path / "run")
    assert result.exit_code != 0 and "--csv FILE" in result.output
    result = invoke("train", "tabular", "--csv", tmp_path / "none.csv", "--out", tmp_path / "run")
    assert result.exit_code != 0 and "There is no table" in result.output
    assert not (tmp_path / "run").exists()


def test_a_first_column_without_a_name_is_left_out_with_a_word(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text(",a,b\n" + "".join(f"{row},{row % 3}.5,{-row}\n" for row in range(6)))
    with pytest.warns(UserWarning, match="first column has no name.*left out"):
        table = tables.load(file)
    assert table.columns == ("a", "b") and table.values.shape == (6, 2)
    file.write_text("a,,b\n1,2,3\n3,1,2\n")
    with pytest.raises(ValueError, match="column 2 has no name"):
        tables.load(file)
