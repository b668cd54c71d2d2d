"""Picard's fixed-point iteration."""

from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.numerics.solvers.solver import Solver, State


@keras.saving.register_keras_serializable("iresnet_tf")
class Picard(Solver):
    """``x_{k+1} = y − g(x_k)``: each evaluation reduces the error by the factor ``Lip(g)``.

    Args:
        tolerance, max_iterations: see `Solver`.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 1.
    """

    def next_iterate(
        self, state: State, residual: tf.Tensor, correction: tf.Tensor, improved: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        return state.x + residual, state.memory
