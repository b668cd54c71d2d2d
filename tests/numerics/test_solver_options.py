"""Tests the options of the solvers, and their errors."""

import keras
import pytest
from solver_examples import SOLVERS

from iresnet_tf.numerics import solvers
from iresnet_tf.numerics.solvers import Anderson, Picard, Solver


@pytest.mark.parametrize("solver", [Picard(1e-4, 7), Anderson(1e-5, 9, memory=3)], ids=repr)
def test_configuration_round_trip(solver):
    again = solvers.get(keras.saving.serialize_keras_object(solver))
    assert type(again) is type(solver) and again.get_config() == solver.get_config()
    assert solvers.get(solver) is solver


@pytest.mark.parametrize("solver", SOLVERS)
def test_wrong_options_are_named(solver):
    for tolerance in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="tolerance is a positive number"):
            solver(tolerance=tolerance)
    with pytest.raises(ValueError, match="max_iterations is an integer of at least 1; received 0"):
        solver(max_iterations=0)
    with pytest.raises(ValueError, match="memory is an integer of at least 1; received 0"):
        Anderson(memory=0)
    with pytest.raises(ValueError, match="solver is a solver.*'newton'"):
        solvers.get("newton")


def test_base_solver_is_abstract():
    with pytest.raises(TypeError, match="next_iterate"):
        Solver()
