"""Tests the source of pairs of the columns of a table."""

import numpy as np
import pytest

import iresnet_tf as irn
from iresnet_tf.data import tables
from iresnet_tf.data.conditional_table import contexts_of

ROWS = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def file(tmp_path):
    tables.write(tmp_path / "table.csv", NAMES, ROWS)
    return str(tmp_path / "table.csv")


def opened(file, context, **options):
    return irn.data.get("conditional-table", table={"file": file, **options}, context=context)


def test_the_columns_are_divided_and_rows_stay_together(file):
    source = opened(file, ("d", "b"))
    assert source.columns == ("a", "c") and source.context_columns == ("d", "b")
    assert source.event_shape == (2,) and source.classes is None
    rows = {tuple(row) for row in ROWS}
    for split, count in (("train", 32), ("test", 8)):
        x, context = source.examples(split)
        assert x.shape == context.shape == (count, 2) and context.dtype == np.float32
        whole = np.stack([x[:, 0], context[:, 1], x[:, 1], context[:, 0]], 1)
        assert {tuple(row) for row in whole} <= rows


def test_the_stream_yields_pairs(file):
    source = opened(file, ("b",))
    x, context = next(iter(source.stream(5, seed=1)))
    assert x.shape == (5, 3) and context.shape == (5, 1) and context.dtype == np.float32
    pairs = {(row[0], row[1]) for row in ROWS}
    assert {(float(a), float(b)) for a, b in zip(x[:, 0], context[:, 0])} <= {
        (float(a), float(b)) for a, b in pairs
    }
    np.testing.assert_array_equal(source.initial_examples(5, seed=1), x)
    np.testing.assert_array_equal(source.initial_contexts(5, seed=1), context)


@pytest.mark.parametrize(
    "context, message",
    [
        (("e",), "no column 'e'. Its columns are: a, b, c, d"),
        (("a", "a"), "Name each context column once; received a, a"),
        (NAMES, "every column is a context"),
        ((), "--csv FILE --context COLUMNS"),
    ],
)
def test_impossible_contexts_are_refused(file, context, message):
    with pytest.raises(ValueError, match=message):
        opened(file, context)


def test_other_sources_take_no_context_columns(file):
    with pytest.raises(ValueError, match="table takes none; received a"):
        irn.data.get("table", table={"file": file}, context=("a",))


def test_a_context_is_read_from_text():
    np.testing.assert_array_equal(contexts_of("b=2, a=-1.5", ("a", "b")), [[-1.5, 2.0]])
    for text, message in (
        ("a=1", "has the columns a, b; received a"),
        ("a=1,b=x", "received 'b=x' in"),
        ("a=1,a=2,b=1", "each column once; received 'a=2'"),
        ("a=1,b=nan", "received 'b=nan'"),
        ("a 1", "received 'a 1'"),
    ):
        with pytest.raises(ValueError, match=message):
            contexts_of(text, ("a", "b"))
