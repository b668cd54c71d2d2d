"""Estimators of the log-determinant of a residual block.

    log |det (I + J)| = tr log(I + J) = Σ_{k≥1} (−1)^{k+1}/k · tr(Jᵏ),   ‖J‖₂ < 1

An estimator is an object that is handed to a block.  It receives the
linearization of ``g`` at a batch and returns one number a sample, in nats, of
the direction ``x ↦ x + g(x)``.

Value and gradient are separate questions.  The series estimators return the
series itself as their value, while their gradient is the Neumann form

    ∇ tr log(I + J) = tr((I + J)⁻¹ ∇J) ≈ wᵀ (∇J) v,   w = Σ_{k<n} (−Jᵀ)ᵏ v,

whose left factor ``w`` is a by-product of the series, as its right factor ``J v`` is one
of the terms.  Nothing is differentiated through the series, so memory does not grow with
the number of terms.

Sources: Behrmann et al. 2019 (arXiv:1811.00995), eq. 4 and algorithm 2; Chen et
al. 2019 (arXiv:1906.02735), eqs. 6 and 8; Hutchinson 1990 for the trace.
"""

import math

from iresnet_tf.numerics.configured import Configured


def truncation_bound(lipschitz: float, terms: int) -> float:
    """``|tr log(I+J) − Σ_{k≤n} …| / D ≤ −(ln(1 − L) + Σ_{k≤n} Lᵏ/k)``, nats a dimension.

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
        # The tail is of the order of the whole, and long.
        return -math.log1p(-lipschitz) - math.fsum(lipschitz**i / i for i in range(1, k))
    # The tail itself, Σ_{k>n} Lᵏ/k: no difference of nearly equal numbers.
    while power > 1e-18 * max(total, 1e-300) * (1.0 - lipschitz):
        total += power / k
        power *= lipschitz
        k += 1
    return total


class LogDet(Configured):
    """Base of the estimators: a call, a truncation bound and a configuration."""

    def __call__(self, linearization, seed, lipschitz=None):
        """Log-determinant of ``I + J``, per sample.

        Args:
            linearization: of ``g`` at ``x``; values ``[batch, …event]``.
            seed: stateless seed, ``[2]``.
            lipschitz: the constant that ``g`` is held to, where an estimator
                adapts to it.

        Returns:
            ``[batch]``, nats, in the dtype of the values.
        """
        raise NotImplementedError

    def value_and_residuals(self, linearization, seed, lipschitz=None):
        """The value, and what `surrogate` needs to give its gradient later, elsewhere.

        Returns:
            ``[batch]``, and a tuple of tensors, each of the size of a few samples' worth.
        """
        return self(linearization, seed, lipschitz), ()

    def surrogate(self, linearization, factors):
        """A number a sample whose gradient is the estimate's; its value may be another.

        Args:
            linearization: of the same ``g`` at the same ``x`` as for `value_and_residuals`.
            factors: what `value_and_residuals` returned.
        """
        raise NotImplementedError

    def truncation_bound(self, lipschitz):
        """Bound on the bias of the estimate, nats a dimension, if ``Lip(g) ≤ lipschitz``."""
        raise NotImplementedError


def dimension_of(value):
    """Elements of one sample."""
    event = value.shape[1:]
    if not event.is_fully_defined():
        raise ValueError(f"The shape of a sample must be known; received {value.shape}.")
    return event.num_elements()
