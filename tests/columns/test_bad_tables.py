"""Every bad table gets one line that names the column, the row or the file."""

import bad_tables
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import iresnet_tf as irn
from iresnet_tf.cli import main


def names(cases):
    return [case[0] for case in cases]


def test_the_list_has_forty_tables():
    assert len(bad_tables.FILES) >= 40


@pytest.mark.parametrize("case", bad_tables.FILES, ids=names(bad_tables.FILES))
def test_the_command_refuses_a_file_in_one_line_and_writes_nothing(case, tmp_path):
    _, make, pattern, options = case
    path, out = make(tmp_path), tmp_path / "run"
    before = sorted(tmp_path.rglob("*"))
    command = ["train", "tabular", "--csv", str(path), "--out", str(out), *options]
    result = CliRunner().invoke(main, command)
    assert result.exit_code in (1, 2) and not isinstance(result.exception, ValueError)
    (line,) = [each for each in result.output.splitlines() if each.startswith("Error: ")]
    assert pd.Series([line]).str.contains(pattern)[0], line
    assert result.output.rstrip().endswith(line), result.output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("case", bad_tables.FRAMES, ids=names(bad_tables.FRAMES))
def test_a_frame_without_a_schema_is_refused_in_one_line(case):
    _, frame, pattern = case
    with pytest.raises(ValueError, match=pattern) as raised:
        irn.columns.TableSchema.fit(frame)
    assert "\n" not in str(raised.value)


KNOWN = pd.DataFrame(
    {
        "x": np.linspace(0.0, 1.0, 40),
        "k": np.arange(40) % 5,
        "word": ["red", "blue"] * 20,
        "same": 3,
        "truth": [True, False] * 20,
    }
)


@pytest.mark.parametrize(
    "change, pattern",
    [
        ({"word": "green"}, "column 'word', row 1: 'green' is none of the 2 categories"),
        ({"word": None}, "column 'word', row 1: the cell is missing"),
        ({"x": np.nan}, "column 'x', row 1: the cell is missing"),
        ({"x": np.inf}, "column 'x', row 1: the number is infinite"),
        ({"x": -0.1}, r"column 'x', row 1: -0.1 lies outside \[0, 1\]"),
        ({"k": 5}, r"column 'k', row 1: 5 lies outside \[0, 4\]"),
        ({"k": 0.5}, "column 'k', row 1: 0.5 is no whole number"),
        ({"same": 4}, "column 'same', row 1: 4 is not 3"),
        ({"truth": "perhaps"}, "column 'truth', row 1: 'perhaps' is none of"),
        ({"x": "high"}, "column 'x' holds words, so it is not numeric"),
    ],
)
def test_a_cell_that_was_never_seen_is_named_with_its_row(change, pattern):
    kinds = {"x": "numeric [0, 1]", "k": "integer [0, 4]"}
    schema = irn.columns.TableSchema.fit(KNOWN, kinds)
    with pytest.raises(ValueError, match=pattern):
        schema.rows(KNOWN.iloc[:3].assign(**change))


def test_a_column_that_is_not_there_is_named():
    schema = irn.columns.TableSchema.fit(KNOWN)
    with pytest.raises(ValueError, match="no column 'k'"):
        schema.rows(KNOWN.drop(columns="k"))
