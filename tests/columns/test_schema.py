"""A table goes to coordinates and comes back with its dtypes, labels, bounds and gaps."""

import ast
import json
import pathlib
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import iresnet_tf
from iresnet_tf.columns import TableSchema, read, write

RANDOM = np.random.default_rng(0)
COUNT = 2000
LABELS = RANDOM.integers(0, 3, COUNT)
WORDS = np.array(["low", "middle", "high"])[LABELS]
GAPS = RANDOM.random(COUNT) < 0.2


def gapped(values, dtype=None):
    values = np.array(values, object)
    values[GAPS] = None
    return pd.Series(values, dtype=dtype)


FRAME = pd.DataFrame(
    {
        "int8": RANDOM.integers(0, 5, COUNT).astype("int8"),
        "count": RANDOM.poisson(3.0, COUNT).astype("uint16"),
        "wide": RANDOM.lognormal(10.0, 1.0, COUNT).astype("int64"),
        "signed": RANDOM.normal(0.0, 3.0, COUNT).round().astype("int32"),
        "float": RANDOM.normal(5.0, 2.0, COUNT),
        "float32": RANDOM.exponential(1.0, COUNT).astype("float32"),
        "whole float": RANDOM.integers(-3, 4, COUNT).astype("float64"),
        "tiny": 1e-9 * RANDOM.normal(5.0, 2.0, COUNT),
        "large": 1e9 * RANDOM.standard_t(2, COUNT),
        "share": RANDOM.beta(0.5, 0.5, COUNT),
        "cost": np.where(RANDOM.random(COUNT) < 0.3, 0.0, RANDOM.exponential(1.0, COUNT)),
        "cut": np.minimum(RANDOM.normal(0.0, 1.0, COUNT), 1.0),
        "category": pd.Categorical(WORDS, categories=["high", "low", "middle", "never"]),
        "ordered": pd.Categorical(WORDS, categories=["low", "middle", "high"], ordered=True),
        "codes": pd.Categorical(LABELS * 10),
        "word": WORDS,
        "truth": RANDOM.random(COUNT) < 0.2,
        "constant": 7,
        "Int64": gapped(LABELS, "Int64"),
        "Float64": gapped(RANDOM.normal(size=COUNT), "Float64"),
        "boolean": gapped(LABELS > 1, "boolean"),
        "gap": np.where(GAPS, np.nan, RANDOM.normal(size=COUNT)),
        "whole gap": np.where(GAPS, np.nan, LABELS),
        "object": gapped(WORDS),
        "object truth": gapped(LABELS > 1),
        "object int": gapped(LABELS),
        "string": gapped(WORDS, "string"),
        "category gap": gapped(WORDS, "category"),
        "arrow": pd.Series(LABELS, dtype="int16[pyarrow]"),
        "one and gaps": np.where(GAPS, np.nan, 4.0),
    }
)

KINDS = {
    "int8": "integer [0, 4]",
    "count": "integer [0, inf)",
    "wide": "integer [0, inf)",
    "signed": "integer",
    "float": "numeric",
    "float32": "numeric (0, inf)",
    "whole float": "integer [-3, 3]",
    "tiny": "numeric",
    "large": "numeric",
    "share": "numeric (0, 1)",
    "cost": "numeric [0, inf)",
    "cut": "numeric (-inf, 1]",
    "category": "categorical: high, low, middle",
    "ordered": "ordered categorical: low, middle, high",
    "word": "categorical: high, low, middle",
    "truth": "boolean",
    "constant": "constant 7",
    "boolean": "boolean",
}


@pytest.fixture(scope="module")
def schema():
    return TableSchema.fit(FRAME)


def test_the_kinds_are_inferred(schema):
    found = {column.name: column.kind() for column in schema.columns}
    assert {name: found[name] for name in KINDS} == KINDS


def test_a_frame_comes_back_with_the_same_dtypes_and_cells(schema):
    found = schema.frame(schema.rows(FRAME).points(0).x)
    pd.testing.assert_series_equal(found.dtypes, FRAME.dtypes)
    # Coordinates of real numbers are kept as float32.
    pd.testing.assert_frame_equal(found, FRAME, check_exact=False, rtol=1e-4, atol=1e-12)
    discrete = [column.name for column in schema.columns if column.is_discrete]
    pd.testing.assert_frame_equal(found[discrete], FRAME[discrete], check_exact=True)


def test_100_000_samples_keep_categories_bounds_and_integers(schema):
    x = np.random.default_rng(1).standard_normal((100_000, schema.width))
    x[:2] = [[-8.0], [8.0]]
    found = schema.frame(x)
    pd.testing.assert_series_equal(found.dtypes, FRAME.dtypes)
    for name in ("category", "word", "ordered", "codes", "object", "string", "truth"):
        assert set(found[name].dropna()) == set(FRAME[name].dropna())
    assert found["int8"].isin(range(5)).all() and found["count"].min() >= 0
    assert found["wide"].min() >= 0
    assert (found["float32"] > 0).all() and found["share"].between(0, 1, "neither").all()
    assert found["cost"].min() == 0.0 and found["cut"].max() == 1.0
    assert (found["whole float"] % 1 == 0).all() and found["whole float"].between(-3, 3).all()
    assert (found["constant"] == 7).all()
    for name in ("gap", "Int64", "object", "boolean", "category gap"):
        # Three standard errors of both shares.
        error = 3.0 * np.sqrt(0.2 * 0.8 * (1e-5 + 1.0 / COUNT))
        assert abs(found[name].isna().mean() - FRAME[name].isna().mean()) < error


def test_every_coordinate_is_standard_normal(schema):
    x = schema.rows(FRAME).points(0).x
    for values in x.T:
        # A part of the coordinates is random, so this is no test of the data alone.
        assert stats.kstest(values, "norm").pvalue > 1e-4


def test_the_configuration_is_plain_data_that_gives_the_schema_back(schema):
    again = TableSchema.from_config(json.loads(json.dumps(schema.get_config())))
    (x, log_det), (y, other) = (each.rows(FRAME).points(3) for each in (schema, again))
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(log_det, other)
    assert str(again) == str(schema)
    pd.testing.assert_frame_equal(schema.frame(x), again.frame(x))


def test_the_printed_table_has_a_line_for_every_column(schema):
    lines = str(schema).splitlines()
    assert len(lines) == 1 + len(FRAME.columns)
    (cost,) = [line for line in lines if line.startswith("cost ")]
    assert "numeric [0, inf)" in cost and "density" in cost and "% at the lower bound" in cost


def test_kinds_that_are_set_by_hand_replace_those_inferred():
    frame = pd.DataFrame({"a": LABELS, "b": RANDOM.random(COUNT), "c": LABELS % 2, "d": LABELS})
    kinds = {"a": "categorical 2 < 0 < 1", "b": "numeric(-1, inf)", "c": "boolean", "d": "drop"}
    schema = TableSchema.fit(frame, kinds)
    found = {column.name: column.kind() for column in schema.columns}
    assert found == {
        "a": "ordered categorical: 2, 0, 1",
        "b": "numeric (-1, inf)",
        "c": "boolean",
    }
    again = schema.frame(schema.rows(frame).points(0).x)
    pd.testing.assert_frame_equal(again[["a", "c"]], frame[["a", "c"]])


def log_likelihood(frame, kinds=None):
    """Returns the mean bound of independent normal coordinates, nats per row."""
    schema = TableSchema.fit(frame, kinds)
    points = [schema.rows(frame).points(seed) for seed in range(4)]
    return np.mean([stats.norm.logpdf(x).sum(1).mean() + added.mean() for x, added in points])


def test_gaps_and_bounds_count_as_probabilities_and_values_as_densities():
    rng = np.random.default_rng(2)
    x, chance = rng.normal(size=20_000), rng.random(20_000)
    found = log_likelihood(pd.DataFrame({"x": np.where(chance < 0.3, np.nan, x)}))
    entropy = stats.norm().entropy()
    p = np.mean(chance < 0.3)
    truth = p * np.log(p) + (1 - p) * (np.log(1 - p) - entropy)
    assert truth - 0.02 < found < truth + 0.02
    y = np.where(chance < 0.3, 0.0, np.exp(x))
    density = stats.lognorm(1.0).entropy()
    truth = p * np.log(p) + (1 - p) * (np.log(1 - p) - density)
    found = log_likelihood(pd.DataFrame({"y": y}))
    assert truth - 0.03 < found < truth + 0.03


def test_levels_count_as_probabilities():
    frame = pd.DataFrame({"k": np.random.default_rng(3).poisson(2.0, 20_000)})
    shares = frame["k"].value_counts(normalize=True)
    assert abs(log_likelihood(frame) - np.sum(shares * np.log(shares))) < 2e-3
    wide = pd.DataFrame({"k": np.random.default_rng(3).geometric(1e-4, 20_000)})
    assert abs(log_likelihood(wide) + stats.geom(1e-4).entropy()) < 0.03


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_give_the_same_columns(suffix, tmp_path):
    path = tmp_path / f"table.{suffix}"
    write(path, FRAME)
    found = read(path)
    if suffix == "parquet":
        pd.testing.assert_series_equal(found["ordered"], FRAME["ordered"])
        assert tuple(found.columns) == tuple(FRAME.columns) and len(found) == COUNT
    else:
        assert found["Int64"].dtype == "Int64" and found["boolean"].dtype == "boolean"
        np.testing.assert_array_equal(found["float"], FRAME["float"])
        assert found["object"].isna().equals(FRAME["object"].isna())


def test_arrays_have_numbered_columns(tmp_path):
    values = RANDOM.normal(size=(20, 3))
    np.save(tmp_path / "a.npy", values)
    for table in (values, tmp_path / "a.npy"):
        found = read(table)
        assert list(found.columns) == ["x1", "x2", "x3"]
        np.testing.assert_array_equal(found, values)


def test_an_index_without_a_name_is_left_out_with_a_word(tmp_path):
    FRAME[["float", "word"]].to_csv(tmp_path / "table.csv")
    with pytest.warns(UserWarning, match="first column has no name"):
        found = read(tmp_path / "table.csv")
    assert list(found.columns) == ["float", "word"]


def test_blank_lines_before_the_header_are_skipped(tmp_path):
    (tmp_path / "table.csv").write_text('\n\n"a","two\nlines"\n1.5,2\n2.5,3\n')
    found = read(tmp_path / "table.csv")
    assert list(found.columns) == ["a", "two\nlines"] and found["a"].tolist() == [1.5, 2.5]


def test_the_ends_of_an_open_interval_are_no_whole_numbers_of_it():
    frame = pd.DataFrame({"k": RANDOM.integers(1, 5, 200)})
    schema = TableSchema.fit(frame, {"k": "integer (0, 5)"})
    assert schema.columns[0].kind() == "integer [1, 4]"
    with pytest.raises(ValueError, match=r"column 'k', row 2: 0 lies outside \[1, 4\]"):
        schema.rows(pd.DataFrame({"k": [1, 0]}))


def test_without_pandas_a_table_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'iresnet_tf\[tables\]'"):
        read("table.csv")


@pytest.mark.parametrize("extra", ["pandas", "pyarrow"])
def test_the_package_imports_no_extra_of_tables_by_itself(extra):
    for path in pathlib.Path(iresnet_tf.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == extra for name in names), path
