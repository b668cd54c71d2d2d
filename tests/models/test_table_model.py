"""A model of a table: likelihoods of rows, samples, and missing cells."""

import keras
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import iresnet_tf as irn

COUNT = 4000
CORRELATION = 0.8


def block():
    g = irn.layers.Contraction.mlp(units=(8,))
    return irn.layers.ResidualBlock(g, log_det=irn.log_det.Exact())


def model_of(frame, layers, kinds=None, **options):
    schema = irn.columns.TableSchema.fit(frame, kinds)
    model = irn.models.TableModel(layers, schema, prior="fixed", **options)
    model.build((None, schema.width))
    model.initialize(schema.rows(frame).points(0).x.astype(np.float32))
    return model


@pytest.fixture(scope="module")
def complete():
    """Returns a table of correlated normal numbers of different scales."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=COUNT)
    y = CORRELATION * x + np.sqrt(1.0 - CORRELATION**2) * rng.normal(size=COUNT)
    return pd.DataFrame({"x": 5.0 + 2.0 * x, "y": 1e-6 * y})


@pytest.fixture(scope="module")
def pairs(complete):
    """Returns the table `complete` with a quarter of the second column missing."""
    gaps = np.random.default_rng(1).random(COUNT) < 0.25
    return complete.assign(y=complete["y"].mask(gaps))


@pytest.fixture(scope="module")
def gaussian(pairs):
    return model_of(pairs, [irn.layers.Whiten()])


def test_the_probabilities_of_all_cells_add_up_to_one():
    rng = np.random.default_rng(1)
    a = rng.integers(0, 2, 500)
    frame = pd.DataFrame(
        {"a": a > 0, "b": np.array(["u", "v", "w"])[(a + (rng.random(500) < 0.3))]}
    )
    model = model_of(frame, [irn.layers.Whiten(), block(), irn.layers.ActNorm()])
    every = pd.MultiIndex.from_product([[False, True], ["u", "v", "w"]], names=["a", "b"])
    cells = every.to_frame(index=False)
    draws = model.log_prob_rows(cells.loc[np.repeat(range(6), 2000)], draws=1).reshape(6, 2000)
    # The mean over draws is an unbiased estimate of the probability of a cell.
    assert abs(np.exp(draws).mean(1).sum() - 1.0) < 0.02
    several = model.log_prob_rows(cells, draws=20)
    error = draws.std(1) / np.sqrt(20)
    assert (several > draws.mean(1) - 4.0 * error).all()
    assert (abs(several - np.log(np.exp(draws).mean(1))) < 4.0 * error).all()


def test_the_likelihood_of_a_normal_law_is_its_density(complete):
    model = model_of(complete, [irn.layers.Whiten()])
    found = model.log_prob_rows(complete, draws=1)
    law = stats.multivariate_normal([0.0, 0.0], [[1.0, CORRELATION], [CORRELATION, 1.0]])
    scale = np.array([2.0, 1e-6])
    truth = law.logpdf((complete - [5.0, 0.0]) / scale) - np.log(scale).sum()
    assert abs(np.mean(found - truth)) < 0.02
    samples = model.sample_rows(20_000, seed=0)
    assert abs(samples.corr().loc["x", "y"] - CORRELATION) < 0.03


def test_likelihoods_are_repeatable_and_rows_are_independent_of_their_order(gaussian, pairs):
    found = gaussian.log_prob_rows(pairs[:50], draws=2, seed=3)
    np.testing.assert_array_equal(found, gaussian.log_prob_rows(pairs[:50], draws=2, seed=3))
    assert np.any(found != gaussian.log_prob_rows(pairs[:50], draws=2, seed=4))


def test_a_saved_model_keeps_its_schema(gaussian, pairs, tmp_path):
    gaussian.save(tmp_path / "model.keras")
    again = irn.load(tmp_path / "model.keras")
    assert str(again.schema) == str(gaussian.schema)
    np.testing.assert_allclose(
        again.log_prob_rows(pairs[:20]), gaussian.log_prob_rows(pairs[:20]), rtol=1e-6
    )
    pd.testing.assert_frame_equal(again.sample_rows(20, seed=0), gaussian.sample_rows(20, seed=0))


def test_samples_have_the_moments_and_the_gaps_of_the_table(gaussian, pairs):
    found = gaussian.sample_rows(20_000, seed=0)
    pd.testing.assert_series_equal(found.dtypes, pairs.dtypes)
    assert abs(found["y"].isna().mean() - 0.25) < 0.03
    standard = (found - [5.0, 0.0]) / [2.0, 1e-6]
    np.testing.assert_allclose(standard.mean(), 0.0, atol=0.05)
    np.testing.assert_allclose(standard.std(), 1.0, rtol=0.05)


def test_missing_cells_are_drawn_from_the_conditional_law_of_the_model(gaussian):
    frame = pd.DataFrame({"x": np.repeat([3.0, 8.0], 1500), "y": np.nan})
    frame.loc[0, "y"] = 2e-6
    found = gaussian.impute(frame, steps=100, seed=0)
    pd.testing.assert_series_equal(found.frame["x"], frame["x"])
    assert found.frame.loc[0, "y"] == 2e-6 and not found.frame["y"].isna().any()
    assert np.isnan(found.acceptance[0]) and np.nanmin(found.acceptance) > 0.1
    assert np.nanmedian(found.potential_scale_reduction) < 1.1
    # A quarter of the coordinates of y is noise, so a normal law has this much correlation.
    correlation = 0.75 * CORRELATION
    for x, rows in ((3.0, slice(1, 1499)), (8.0, slice(1500, 2999))):
        y = found.frame.loc[rows, "y"]
        # The model knows the law from 4000 rows.
        assert abs(y.mean() - 1e-6 * correlation * (x - 5.0) / 2.0) < 1e-7
        assert abs(y.std() / (1e-6 * np.sqrt(1.0 - correlation**2)) - 1.0) < 0.1


def test_labels_are_imputed_by_the_cells_that_are_present():
    rng = np.random.default_rng(2)
    a = rng.random(COUNT) < 0.5
    b = np.where(rng.random(COUNT) < 0.9, a, ~a)
    frame = pd.DataFrame({"a": a, "b": pd.array(b, dtype="boolean")})
    frame.loc[rng.random(COUNT) < 0.2, "b"] = pd.NA
    model = model_of(frame, [irn.layers.Whiten()])
    found = model.impute(frame, steps=60, seed=0).frame
    pd.testing.assert_series_equal(found.dtypes, frame.dtypes)
    present = frame["b"].notna()
    pd.testing.assert_frame_equal(found[present], frame[present])
    drawn = found[~present]
    # The law of the model is a normal one, whose orthants have the probabilities of the cells.
    r = np.corrcoef(model.schema.rows(frame).points(5).x.T)[0, 1]
    law = stats.multivariate_normal([0.0, 0.0], [[1.0, r], [r, 1.0]])
    middle = stats.norm.ppf((~frame["a"]).mean())
    first, last = stats.norm.ppf([(frame["b"] == False).mean(), present.mean()])  # noqa: E712
    both_false = law.cdf([middle, first])
    both_true = (stats.norm.cdf(last) - law.cdf([middle, last])) - (
        stats.norm.cdf(first) - both_false
    )
    share = (both_false + both_true) / present.mean()
    # Three standard errors of the share of 800 rows.
    assert abs((drawn["a"] == drawn["b"]).mean() - share) < 0.05


def test_a_stream_of_a_source_trains_the_model(pairs):
    source = irn.data.MixedTableSource(pairs)
    model = irn.models.TableModel(
        [irn.layers.Whiten(), block(), irn.layers.ActNorm()], source.schema
    )
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(source.stream(100, seed=0), steps_per_epoch=10, epochs=2, verbose=0)
    # The coordinates are nearly normal from the first step on; three of them.
    assert history.history["loss"][-1] < 3.0 * stats.norm.entropy()
    x = next(iter(source.stream(100, seed=0, skip=3)))
    np.testing.assert_array_equal(x, list(source.stream(100, seed=0).take(4))[3])
