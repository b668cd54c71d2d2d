"""Tests the classifier with the interface of scikit-learn."""

import pickle

import numpy as np
import pytest
from scipy.special import expit
from sklearn.utils.estimator_checks import check_estimator

import iresnet_tf as irn

SMALL = {"blocks": 1, "width": 8, "max_iter": 10, "batch_size": 32, "learning_rate": 0.02}
RNG = np.random.default_rng(0)
CENTERS = np.array([[-2.0, 0.0], [2.0, 0.0]])
LABELS = RNG.integers(2, size=400)
X = CENTERS[LABELS] + RNG.normal(size=(400, 2))
Y = np.array(["left", "right"])[LABELS]


@pytest.fixture(scope="module")
def classifier():
    return irn.sklearn.ResidualFlowClassifier(**SMALL, random_state=0).fit(X, Y)


def test_it_is_as_accurate_as_the_rule_that_generated_the_classes(classifier):
    labels = RNG.integers(2, size=2000)
    x = CENTERS[labels] + RNG.normal(size=(2000, 2))
    y = np.array(["left", "right"])[labels]
    # Bayes' rule compares the first column with 0; 2000 rows have a standard error of 0.003.
    best = np.mean((x[:, 0] > 0.0) == labels)
    assert classifier.score(x, y) > best - 0.02
    assert list(classifier.classes_) == ["left", "right"]


def test_probabilities_and_decisions_agree(classifier):
    p, decision = classifier.predict_proba(X), classifier.decision_function(X)
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-12)
    np.testing.assert_allclose(p[:, 1], expit(decision), atol=1e-12)
    np.testing.assert_array_equal(classifier.predict(X) == "right", decision > 0.0)


def test_a_pickle_predicts_the_same(classifier):
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


def test_what_cannot_be_classified_is_refused():
    with pytest.raises(ValueError, match="at least two classes; received one class, 'left'"):
        irn.sklearn.ResidualFlowClassifier().fit(X, ["left"] * 400)
    with pytest.raises(ValueError, match="width is a whole number of at least 1; received 2.5"):
        irn.sklearn.ResidualFlowClassifier(width=2.5).fit(X, Y)


@pytest.mark.slow
def test_a_constant_column_is_named_in_a_warning():
    with pytest.warns(UserWarning, match="1 of the columns are constant and tell nothing: number"):
        irn.sklearn.ResidualFlowClassifier(**SMALL).fit(np.c_[X, np.ones(400)], Y)


@pytest.mark.slow
def test_it_passes_the_checks_of_scikit_learn():
    results = check_estimator(irn.sklearn.ResidualFlowClassifier(**SMALL), on_skip=None)
    skipped = {each["check_name"] for each in results if each["status"] != "passed"}
    assert skipped <= {"check_array_api_input"}  # without SCIPY_ARRAY_API scikit-learn skips it
