"""Picard's fixed-point iteration."""

import keras

from iresnet_tf.numerics.solvers.solver import Solver


@keras.saving.register_keras_serializable("iresnet_tf")
class Picard(Solver):
    """``x_{k+1} = y − g(x_k)``: each evaluation reduces the error by the factor ``Lip(g)``.

    Args:
        tolerance: absolute, on ``max |x + g(x) − y|`` of a sample.
        max_iterations: largest number of evaluations of ``g``.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 1.
    """

    def next_iterate(self, state, residual, correction, improved):
        del correction, improved
        return state.x + residual, state.memory
