"""Tests the options of the estimators of the log-determinant, and their errors."""

import warnings

import keras
import numpy as np
import pytest
from log_det_examples import same

from iresnet_tf import layers
from iresnet_tf.numerics.log_det import (
    Coloured,
    Exact,
    Krylov,
    LogDet,
    PowerSeries,
    RussianRoulette,
    Series,
    get,
    truncation_bound,
)


def test_adaptive_survival_follows_the_lipschitz_constant():
    assert RussianRoulette().survival(0.729) == pytest.approx(0.9**4)
    assert RussianRoulette(parameter=0.2).survival() == pytest.approx(0.8)


def test_survival_below_the_square_of_the_constant_warns(contraction, batch_for):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 1))
    with pytest.warns(UserWarning, match="infinite variance.*0.81"):
        RussianRoulette(parameter=0.5)(linearization, 0, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RussianRoulette(parameter=0.1)(linearization, 0, 0.9)
        RussianRoulette()(linearization, 0, 0.9)


@pytest.mark.filterwarnings("ignore:Russian roulette")
@pytest.mark.parametrize(
    "estimator",
    [
        Exact(),
        PowerSeries(7, 3, "gaussian"),
        PowerSeries(2, distribution=np.eye(3)),
        Krylov(6, 1e-3, probes=2),
        Krylov("auto", truncation=1e-3),
        RussianRoulette(parameter=0.3, exact_terms=4, probes=2),
        RussianRoulette("poisson", 3.0),
        Coloured(RussianRoulette(exact_terms=4), (6, 2)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_configuration_round_trip(estimator):
    assert same(estimator, type(estimator).from_config(estimator.get_config()))
    config = keras.saving.serialize_keras_object(estimator)
    assert same(estimator, get(config))
    assert get(estimator) is estimator
    assert type(estimator).__name__ in repr(estimator)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: PowerSeries(0), "terms is an integer of at least 1; received 0"),
        (lambda: PowerSeries(2.5), "terms.*2.5"),
        (lambda: PowerSeries(True), "terms.*True"),
        (lambda: PowerSeries(3, probes=0), "probes is an integer of at least 1; received 0"),
        (lambda: PowerSeries(3, distribution="uniform"), "distribution is one of.*'uniform'"),
        (lambda: PowerSeries(3, distribution=np.ones(4)), r"\[probes, …event\].*\(4,\)"),
        (lambda: PowerSeries(3, distribution=[[np.nan]]), "finite"),
        (lambda: PowerSeries(3, distribution=np.zeros((2, 3))), "not all zero"),
        (lambda: RussianRoulette("uniform"), "law is one of.*'uniform'"),
        (lambda: RussianRoulette(parameter=0.0), "between 0 and 1.*0.0"),
        (lambda: RussianRoulette(parameter=1.0), "between 0 and 1.*1.0"),
        (lambda: RussianRoulette("poisson", -1.0), "positive mean.*-1.0"),
        (lambda: RussianRoulette(exact_terms=-1), "exact_terms.*-1"),
        (lambda: RussianRoulette(exact_terms=1.5), "exact_terms.*1.5"),
        (lambda: RussianRoulette(probes=0), "probes"),
        (lambda: get("exact"), "log_det is an estimator.*'exact'"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("lipschitz", [None, 1.0, 2.0])
def test_adaptive_roulette_needs_a_constant_below_one(contraction, batch_for, lipschitz):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 1))
    with pytest.raises(ValueError, match="must be known and below 1.*parameter"):
        RussianRoulette()(linearization, 0, lipschitz)


def test_probes_of_another_size_are_refused(contraction, batch_for):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 1))
    with pytest.raises(ValueError, match="5 elements each and the samples 6"):
        PowerSeries(2, distribution=np.ones((2, 5)))(linearization, 0)


@pytest.mark.parametrize("seed", [1.5, [1, 2, 3], [0.5, 0.5]])
def test_what_is_no_seed_is_refused(contraction, batch_for, seed):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 1))
    with pytest.raises(ValueError, match="seed is an integer or a pair"):
        PowerSeries(2)(linearization, seed)


class Forgetful(PowerSeries):
    """Takes arguments that are not those of its configuration."""

    def __init__(self, count=3):
        super().__init__(count)


class Lossy(Series):
    """Leaves an argument out of its configuration."""

    def __init__(self, terms=3):
        super().__init__(probes=1, distribution="rademacher", series_dtype=None)
        self.terms = terms

    def sums(self, linearization, v, image, *, seed, lipschitz):
        return self.weighted_sums(linearization, v, image, terms=self.terms)

    def truncation_bound(self, lipschitz):
        return truncation_bound(lipschitz, self.terms)


@pytest.mark.parametrize("made", [Forgetful(5), Lossy(5), Coloured(Lossy(5))], ids=repr)
def test_an_estimator_that_would_be_loaded_otherwise_is_not_saved(made):
    block = layers.ResidualBlock(layers.Contraction.mlp((4,)), log_det=made)
    with pytest.raises(ValueError, match="get_config must return every argument"):
        block.get_config()
    block.log_det = Lossy()  # the default is what would be loaded
    block.get_config()


def test_saving_repeats_no_warning():
    with pytest.warns(UserWarning, match="infinite variance"):
        made = RussianRoulette("poisson", 3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.serialized()


def test_base_estimator_is_abstract():
    with pytest.raises(TypeError, match="__call__.*truncation_bound"):
        LogDet()
