"""Runs the script that compares constraints, with small models of the digits."""

import json
import pathlib
import runpy

import pytest
from click.testing import CliRunner

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "invertibility_table.py"
SMALL = ["model.blocks=1", "model.width=4", "model.squeeze=true", "model.padding=3"]


@pytest.mark.slow
def test_the_table_has_a_row_for_each_constraint_and_one_without(tmp_path):
    main = runpy.run_path(str(SCRIPT))["main"]
    arguments = ["digits-classifier", "--out", tmp_path / "table", "--coeffs", "0.6,0.9", *SMALL]
    arguments += ["--steps", 40, "--data-dir", tmp_path / "data"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "table" / "table.json").read_text())
    assert [row["coeff"] for row in rows] == [None, 0.6, 0.9]
    free, *held = rows
    assert free["certified_max"] > 1.0
    for row in held:
        # The power iteration allows 0.1 % for each layer, and the bracket another 0.1 %.
        assert row["certified_max"] <= (row["coeff"] * 1.002) ** 3
        assert row["max_abs_error"] < 1e-2
    # If the results exist, the table is made again without training.
    times = [row["cpu_seconds"] for row in rows]
    CliRunner().invoke(main, [str(each) for each in arguments])
    again = json.loads((tmp_path / "table" / "table.json").read_text())
    assert [row["cpu_seconds"] for row in again] == times
