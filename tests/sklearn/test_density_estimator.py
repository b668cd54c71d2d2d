"""Tests the density estimator with the interface of scikit-learn."""

import pickle
import pickletools

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import iresnet_tf as irn

LAW = stats.multivariate_normal([3.0, -1.0], [[4.0, 1.5], [1.5, 1.0]])
X, TEST = LAW.rvs(600, random_state=0), LAW.rvs(2000, random_state=1)
SMALL = {"blocks": 1, "width": 4, "max_iter": 2, "components": 1}


@pytest.fixture(scope="module")
def flow():
    return irn.sklearn.ResidualFlowDensity(**SMALL, random_state=3).fit(X)


def test_the_score_is_close_to_that_of_the_law(flow):
    difference = LAW.logpdf(TEST) - flow.score_samples(TEST)
    # 600 rows determine the 5 parameters of a normal distribution to 5 / 1200 nats; the mean
    # over the test rows adds its standard error.
    assert abs(difference.mean()) < 0.03
    assert flow.score(TEST) == pytest.approx(flow.score_samples(TEST).mean())


def test_the_density_integrates_to_one(flow):
    first, second = np.linspace(-9.0, 15.0, 161), np.linspace(-7.0, 5.0, 161)
    points = np.stack(np.meshgrid(first, second, indexing="ij"), -1).reshape(-1, 2)
    cell = (first[1] - first[0]) * (second[1] - second[0])
    assert np.exp(flow.score_samples(points)).sum() * cell == pytest.approx(1.0, abs=1e-3)


def test_the_latents_invert_and_have_names(flow):
    z = flow.transform(TEST)
    assert z.shape == TEST.shape and z.dtype == np.float64
    np.testing.assert_allclose(flow.inverse_transform(z), TEST, atol=1e-7)
    assert list(flow.get_feature_names_out()) == ["residualflowdensity0", "residualflowdensity1"]
    np.testing.assert_allclose(z.mean(0), 0.0, atol=0.2)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.2)


def test_samples_follow_the_law_and_their_seed(flow):
    samples = flow.sample(4000, random_state=0)
    assert samples.shape == (4000, 2)
    np.testing.assert_array_equal(samples, flow.sample(4000, random_state=0))
    state = np.random.RandomState(0)
    np.testing.assert_array_equal(samples[:1], flow.sample(4000, random_state=state)[:1])
    assert not np.array_equal(samples, flow.sample(4000, random_state=state))
    np.testing.assert_allclose(samples.mean(0), LAW.mean, atol=0.3)
    np.testing.assert_allclose(np.cov(samples.T), LAW.cov, atol=0.6)


def test_it_has_the_weights_of_the_best_epoch(flow):
    assert flow.n_iter_ == 2 and len(flow.validation_scores_) == 3
    assert flow.best_validation_score_ == max(flow.validation_scores_)
    held_out = X[np.random.RandomState(3).permutation(600)[:60]]
    assert flow.score(held_out) == pytest.approx(flow.best_validation_score_, abs=1e-9)


def test_the_pickle_holds_arrays_alone(flow):
    text = pickle.dumps(flow)
    names = [arg for op, arg, _ in pickletools.genops(text) if isinstance(arg, str)]
    modules = {name.split(".")[0] for name in names if "." in name}
    assert not modules & {"keras", "tensorflow", "tf_keras", "builtins", "os"}
    again = pickle.loads(text)
    # Threads may add up in another order.
    scores = (each.score_samples(TEST[:50]) for each in (again, flow))
    np.testing.assert_allclose(*scores, rtol=1e-13)
    samples = (each.sample(5, random_state=1) for each in (again, flow))
    np.testing.assert_allclose(*samples, rtol=1e-9)


def test_the_same_seed_gives_the_same_numbers_whatever_the_global_state(flow):
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    state = np.random.RandomState(3)
    again = clone(flow).set_params(random_state=state).fit(X)
    # Threads may add up in another order.
    np.testing.assert_allclose(again.score_samples(TEST), flow.score_samples(TEST), rtol=1e-12)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    "x, options, message",
    [
        (np.c_[X, np.ones(600)], {}, "1 of the columns are constant.*number 2"),
        (np.where(X == X[5, 1], np.nan, X), {}, "contains NaN"),
        (X[:3], {}, "3 sample"),
        (X, {"blocks": -1}, "blocks is a whole number of at least 0; received -1"),
        (X, {"patience": "auto"}, "patience is a whole number of at least 1; received 'auto'"),
        (X, {"validation_fraction": 1.5}, "validation_fraction lies between 0 and 1"),
        (X, {"learning_rate": 0}, "learning_rate is a positive number; received 0"),
        (X, {"weight_decay": -1.0}, "weight_decay is a non-negative number; received -1.0"),
        (X, {"components": 0}, "components is 'auto' or a whole number of at least 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        irn.sklearn.ResidualFlowDensity(**options).fit(x)


def test_an_unfitted_estimator_says_so():
    for call in ("score_samples", "transform", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(irn.sklearn.ResidualFlowDensity(), call)(X)
    with pytest.raises(NotFittedError):
        irn.sklearn.ResidualFlowDensity().sample()


@pytest.mark.slow
def test_it_works_in_the_tools_of_scikit_learn():
    flow = irn.sklearn.ResidualFlowDensity(**SMALL, random_state=0)
    pipeline = make_pipeline(StandardScaler(), flow).fit(X)
    standard = StandardScaler().fit(X)
    np.testing.assert_allclose(
        pipeline.score_samples(TEST) - np.log(standard.scale_).sum(),
        LAW.logpdf(TEST),
        atol=1.0,
    )
    search = GridSearchCV(flow, {"components": [1, 2]}, cv=2).fit(X)
    assert search.best_params_["components"] in (1, 2)
    assert abs(cross_val_score(flow, X, cv=2).mean() + LAW.entropy()) < 0.2


@pytest.mark.slow
def test_it_passes_the_checks_of_scikit_learn():
    skipped = {
        each["check_name"]
        for each in check_estimator(irn.sklearn.ResidualFlowDensity(**SMALL), on_skip=None)
        if each["status"] != "passed"
    }
    assert skipped <= {"check_array_api_input"}  # without SCIPY_ARRAY_API scikit-learn skips it
