"""The truncated power series of the log-determinant."""

from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from iresnet_tf.numerics.log_det.estimator import MARGIN, LogDet, truncation_bound
from iresnet_tf.numerics.log_det.series import Series
from iresnet_tf.numerics.maps import Linearization
from iresnet_tf.numerics.options import require_integer_or_auto, require_positive


@keras.saving.register_keras_serializable("iresnet_tf")
class PowerSeries(Series):
    """``log |det(I + J)| ≈ Σ_{k=1}^{n} (−1)^{k+1}/k · vᵀ Jᵏ v``, averaged over probes ``v``.

    Truncation biases it: for real eigenvalues an odd number of terms overstates the
    log-determinant.  See `truncation_bound`.

    Args:
        terms: ``n ≥ 1``, the number of terms, each of which takes one Jacobian product; or
            ``"auto"`` for the fewest terms, in each block, whose truncation bound is at most
            ``truncation`` for the Lipschitz constant that ``g`` is held to.
        probes: number of probe vectors for each sample.
        distribution: ``"rademacher"``, ``"gaussian"``, or an array of probes
            ``[probes, …event]`` that is used for every sample.  An array is weighted by
            ``D / Σ‖v‖²``, so the rows of an identity give the exact trace.
        truncation: with ``terms="auto"``, the largest accepted bias of a block, in nats per
            dimension.
        series_dtype: ``"bfloat16"`` takes the products of the series in that dtype and sums
            them in the dtype of the values.  It is quicker on machines that multiply bfloat16
            faster, and rounds each term by about 2⁻⁸.

    Raises:
        ValueError: if ``terms`` or ``probes`` is no positive integer, the distribution is
            unknown, or ``truncation`` is not positive; in a call, for automatic terms if ``g``
            is not held below 1.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 2.
    """

    def __init__(
        self,
        terms: int | str,
        probes: int = 1,
        distribution: str | ArrayLike = "rademacher",
        truncation: float = 0.01,
        series_dtype: str | None = None,
    ) -> None:
        super().__init__(probes=probes, distribution=distribution, series_dtype=series_dtype)
        self.terms = require_integer_or_auto("terms", terms)
        self.truncation = require_positive("truncation", truncation, "a positive number of nats")

    def sums(
        self,
        linearization: Linearization,
        v: tf.Tensor,
        image: tf.Tensor,
        *,
        seed: tf.Tensor,
        lipschitz: float | tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        terms = self.number_of_terms(lipschitz)
        return self.weighted_sums(linearization, v, image, terms=terms)

    def number_of_terms(self, lipschitz: float | None) -> int:
        """Returns ``n`` for a ``g`` that is held to the constant ``lipschitz``.

        Raises:
            ValueError: for automatic terms, if the constant is unknown or not below 1.
        """
        if not isinstance(self.terms, str):
            return self.terms
        lipschitz = None if lipschitz is None else MARGIN * lipschitz
        if lipschitz is None or not lipschitz < 1.0:
            raise ValueError(
                'terms="auto" follows the Lipschitz constant of g, which must be known and below '
                f"1 with a margin of {MARGIN}; received {lipschitz!r}. Give a number of terms."
            )
        terms = 1
        while truncation_bound(lipschitz, terms) > self.truncation:
            terms += 1
        return terms

    def for_target(self, target: float | None) -> LogDet:
        if not isinstance(self.terms, str):
            return self
        return PowerSeries(self.number_of_terms(target), **self.series_config())

    def truncation_bound(self, lipschitz: float) -> float:
        """Bounds the bias, nats a dimension, if ``Lip(g) ≤ lipschitz``.

        With automatic terms, whose number depends on the target of ``g`` and not on this
        constant, it is the bound for a single term; `for_target` has the one of a block.
        """
        return truncation_bound(lipschitz, 1 if isinstance(self.terms, str) else self.terms)

    def get_config(self) -> dict[str, Any]:
        automatic = {"truncation": self.truncation} if self.terms == "auto" else {}
        return {"terms": self.terms, **self.series_config(), **automatic}
