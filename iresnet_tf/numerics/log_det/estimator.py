"""Estimators of the log-determinant of a residual block.

    log |det (I + J)| = tr log(I + J) = Σ_{k≥1} (−1)^{k+1}/k · tr(Jᵏ),   ‖J‖₂ < 1

A block has an estimator, which takes the linearization of ``g`` at a batch and returns one number
for each sample, in nats, for the direction ``x ↦ x + g(x)``.

The value of a series is the series itself.  Its gradient has the Neumann form

    ∇ tr log(I + J) = tr((I + J)⁻¹ ∇J) ≈ wᵀ (∇J) v,   w = Σ_{k<n} (−Jᵀ)ᵏ v,

whose left factor ``w`` is a by-product of the series and whose right factor ``J v`` is one of its
terms.  The series itself is not differentiated, so memory does not grow with its length.

Sources: Behrmann et al. 2019 (arXiv:1811.00995), eq. 4 and algorithm 2; Chen et al. 2019
(arXiv:1906.02735), eqs. 6 and 8; Hutchinson 1990 for the trace.
"""

import abc
import math
from typing import TypeAlias

import tensorflow as tf

from iresnet_tf.numerics.configured import Configured
from iresnet_tf.numerics.maps import Linearization

Lipschitz: TypeAlias = float | tf.Tensor | None
"""A constant that bounds ``Lip(g)``, or ``None`` if it is not known."""

Tensors: TypeAlias = tuple[tf.Tensor, ...]


def truncation_bound(lipschitz: float, terms: int) -> float:
    """Bounds the tail that a truncated series leaves out, in nats per dimension.

        |tr log(I + J) − Σ_{k≤n} (−1)^{k+1}/k tr(Jᵏ)| / D ≤ −(ln(1 − L) + Σ_{k≤n} Lᵏ/k)

    Args:
        lipschitz: ``L``, a bound on ``‖J‖₂``.
        terms: ``n``, the number of terms kept.

    Returns:
        float; ``inf`` where ``L ≥ 1``.

    Source: Behrmann et al. 2019, theorem 3.
    """
    if not lipschitz < 1.0:
        return math.inf
    total, power, k = 0.0, lipschitz ** (terms + 1), terms + 1
    if lipschitz > 0.99 and power > 0.1:
        # The tail is long and of the order of the whole series.
        return -math.log1p(-lipschitz) - math.fsum(lipschitz**i / i for i in range(1, k))
    # Sums the tail Σ_{k>n} Lᵏ/k, to avoid a difference of nearly equal numbers.
    while power > 1e-18 * max(total, 1e-300) * (1.0 - lipschitz):
        total += power / k
        power *= lipschitz
        k += 1
    return total


MARGIN = 1.004
"""Factor by which ``Lip(g)`` may exceed its target: a thousandth for each of four layers."""


class LogDet(Configured, abc.ABC):
    """Base of the estimators of ``log |det(I + J)|``.

    A subclass defines ``__call__``, `truncation_bound` and `get_config`.  It is registered with
    ``keras.saving.register_keras_serializable``, so that models with it can be loaded.
    """

    takes_spectral_bound: bool = False
    """Whether ``lipschitz`` has to bound ``‖J‖₂``: a constant in another p-norm does not count.

    The trace of a power is bounded by a constant in any norm, a form ``vᵀ f(J) v`` is not.
    """

    @abc.abstractmethod
    def __call__(
        self, linearization: Linearization, seed: tf.Tensor, lipschitz: Lipschitz = None
    ) -> tf.Tensor:
        """Returns the log-determinant of ``I + J`` of each sample.

        Args:
            linearization: of ``g`` at ``x``; its value has the shape ``[batch, …event]``.
            seed: stateless seed ``[2]``.  An estimator draws by `iresnet_tf.numerics.random`, so
                that parts of a batch draw the same numbers as the whole batch.
            lipschitz: the constant that ``g`` is held to, for estimators that adapt to it;
                ``None`` if it is not known.

        Returns:
            ``[batch]``, nats, in the dtype of the value; differentiable.
        """

    @abc.abstractmethod
    def truncation_bound(self, lipschitz: float) -> float:
        """Bounds the bias of the estimate if ``Lip(g) ≤ lipschitz``, in nats per dimension."""

    def for_target(self, target: float | None) -> "LogDet":
        """Returns the estimator that a block whose ``g`` is held to that constant uses.

        By default it is this estimator; one that adapts to the constant returns another.  The
        `truncation_bound` of the result is that of the block.
        """
        del target
        return self

    def value_and_residuals(
        self, linearization: Linearization, seed: tf.Tensor, lipschitz: Lipschitz = None
    ) -> tuple[tf.Tensor, Tensors]:
        """Returns the estimate, ``[batch]``, nats, and the tensors that `surrogate` needs.

        Blocks with ``recompute=True`` call it in the forward pass, and `surrogate` in the backward
        pass.  By default the only tensor is the seed, and `surrogate` makes the estimate again.
        """
        return self(linearization, seed, lipschitz), (seed,)

    def surrogate(
        self, linearization: Linearization, residuals: Tensors, lipschitz: Lipschitz = None
    ) -> tf.Tensor:
        """Returns a number for each sample whose gradient, but not its value, is the estimate's.

        Args:
            linearization, lipschitz: the arguments of `value_and_residuals`.
            residuals: the tensors that it returned.
        """
        (seed,) = residuals
        return self(linearization, seed, lipschitz)
