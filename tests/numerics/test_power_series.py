"""Tests the power series: automatic terms, the size of its graph, its precision."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from log_det_examples import KINDS

from iresnet_tf.numerics.log_det import (
    MARGIN,
    PowerSeries,
    RussianRoulette,
    get,
)


@pytest.mark.parametrize("lipschitz", [0.01, 0.5, 0.729, 0.97])
@pytest.mark.parametrize("truncation", [0.1, 0.001])
def test_automatic_terms_are_the_fewest_within_the_bound(lipschitz, truncation):
    series = PowerSeries("auto", truncation=truncation)
    terms = series.number_of_terms(lipschitz)
    at_most = MARGIN * lipschitz
    tail = -math.log1p(-at_most) - sum(at_most**k / k for k in range(1, terms + 1))
    assert tail <= truncation
    if terms > 1:
        assert tail + at_most**terms / terms > truncation
    # The bound of a block is that of its terms, also if g exceeds its target by the margin.
    block = series.for_target(lipschitz)
    for certified in (0.9 * lipschitz, lipschitz, at_most):
        tail = math.fsum(certified**k / k for k in range(terms + 1, terms + 3000))
        assert tail <= block.truncation_bound(certified) * (1 + 1e-9)
        assert block.truncation_bound(certified) <= truncation
        assert tail <= series.truncation_bound(certified) * (1 + 1e-9)


def test_automatic_terms_estimate_what_as_many_terms_do(contraction, batch_for):
    g, x = contraction("dense"), batch_for("dense", 3)
    automatic = PowerSeries("auto", truncation=0.01)
    lipschitz = g.lipschitz_target()
    plain = PowerSeries(automatic.number_of_terms(lipschitz))
    linearization = g.bind().linearize(x)
    np.testing.assert_array_equal(automatic(linearization, 5, lipschitz), plain(linearization, 5))
    assert get(keras.saving.serialize_keras_object(automatic)) == automatic


@pytest.mark.parametrize("lipschitz", [None, 1.0, 0.999])
def test_automatic_terms_need_a_constant_below_one(contraction, batch_for, lipschitz):
    linearization = contraction("dense").bind().linearize(batch_for("dense", 2))
    with pytest.raises(ValueError, match="Give a number of terms"):
        PowerSeries("auto")(linearization, 0, lipschitz)


def test_the_graph_of_a_series_is_the_same_for_any_number_of_terms(contraction, batch_for):
    """So the time of tracing and the memory do not depend on the number either."""
    g, x = contraction("conv"), batch_for("conv", 2)

    def operations(terms):
        @tf.function
        def log_det(x):
            return PowerSeries(terms)(g.bind().linearize(x), 0)

        return len(log_det.get_concrete_function(x).graph.get_operations())

    assert operations(2) == operations(50)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["elu", "clipswish", "maxmin"])
@pytest.mark.parametrize("make", [PowerSeries, lambda n, **k: RussianRoulette(exact_terms=n, **k)])
def test_a_series_in_bfloat16_is_off_by_its_rounding(
    contraction, batch_for, kind, activation, make
):
    """Each of the m operations of a term rounds by at most 2⁻⁸, and L < 1."""
    g, x = contraction(kind, activation), batch_for(kind, 5)
    lipschitz, terms = g.lipschitz_target(), 4
    wide, low = (
        make(terms, series_dtype=dtype)(g.bind().linearize(x), 3, lipschitz).numpy()
        for dtype in (None, "bfloat16")
    )
    operations, dimension = 2 * len(g.parts), math.prod(x.shape[1:])
    # |⟨v, δ(Jᵏ) v⟩| / k ≤ (k · operations · 2⁻⁸) Lᵏ ‖v‖² / k, and ‖v‖² = D for ±1 probes.
    bound = 2.0**-8 * operations * dimension * sum(lipschitz**k for k in range(1, 100))
    assert 0.0 < np.max(np.abs(wide - low)) < bound


def test_other_precisions_of_a_series_are_refused():
    with pytest.raises(ValueError, match="series_dtype .* received 'float16'"):
        PowerSeries(5, series_dtype="float16")
