"""The unbiased estimator of the log-determinant, a series of random length."""

import math
import warnings
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from iresnet_tf.internals import is_traced_for_xla
from iresnet_tf.numerics import random
from iresnet_tf.numerics.log_det.estimator import Lipschitz
from iresnet_tf.numerics.log_det.series import Series
from iresnet_tf.numerics.maps import Linearization
from iresnet_tf.numerics.options import require_integer, require_positive


@keras.saving.register_keras_serializable("iresnet_tf")
class RussianRoulette(Series):
    """``Σ_{k≤m} a_k + Σ_{j=1}^{N} a_{m+j} / P(N ≥ j)`` with ``a_k = (−1)^{k+1}/k · vᵀ Jᵏ v``.

    The series has a random length ``m + N``, and later terms are reweighted, so that its
    expectation is the full series: the estimate is unbiased.  ``N`` is drawn once for the whole
    batch.  The variance is finite only if ``P(N ≥ j)`` falls more slowly than ``L^{2j}``.  The
    geometric law, ``P(N ≥ j) = q^{j−1}``, needs ``q > L²``; no Poisson law satisfies it.

    Args:
        law: ``"geometric"``; or, for comparison, ``"poisson"``, which has infinite variance and
            warns.
        parameter: for the geometric law the stopping probability ``p = 1 − q``, or ``None`` for
            ``q = L^(4/3)`` with the constant ``L`` that ``g`` is held to.  For the Poisson law
            the mean, 2 by default.
        exact_terms: ``m ≥ 0``, the number of terms that are always kept.
        probes: number of probe vectors for each sample.
        distribution, series_dtype: see `PowerSeries`.

    The default ``q`` is a compromise.  A tail of uncorrelated terms that fall like ``ρᵏ`` has a
    second moment of ``∝ 1 / (1 − ρ²/q)`` and an expected length of ``1 / (1 − q)``; their
    product is least at ``q = ρ``.  Only ``ρ ≤ L`` is certain.  The terms of trained blocks fall
    faster, but ``q ≤ L²`` risks an infinite variance.  If ``ρ = L``, ``q = L^a`` costs at most
    ``1 / (a (2 − a))`` times the least as ``L → 1``: 9/8 for ``a = 4/3``.  With three exact
    terms, for trained blocks with ``L`` from 0.59 to 0.97, variance × cost was 0.39 to 1.04 times
    that of ``q = L`` with two exact terms (``benchmarks/roulette.py``).

    Raises:
        ValueError: for a parameter outside the range of its law or a negative ``exact_terms``;
            in a call, for an adaptive ``q`` without a Lipschitz constant below 1.

    Source: Chen et al. 2019 (arXiv:1906.02735), eqs. 6 and 8.
    """

    LAWS = ("geometric", "poisson")

    def __init__(
        self,
        law: str = "geometric",
        parameter: float | None = None,
        exact_terms: int = 3,
        probes: int = 1,
        distribution: str | ArrayLike = "rademacher",
        series_dtype: str | None = None,
    ) -> None:
        super().__init__(probes=probes, distribution=distribution, series_dtype=series_dtype)
        if law not in self.LAWS:
            raise ValueError(f"law is one of {self.LAWS}; received {law!r}.")
        if law == "geometric" and parameter is not None:
            takes = (
                "a stopping probability between 0 and 1 (exclusive), or None to follow the "
                "Lipschitz bound"
            )
            parameter = require_positive("The geometric parameter", parameter, takes, below=1.0)
        if law == "poisson":
            parameter = 2.0 if parameter is None else parameter
            parameter = require_positive("The Poisson parameter", parameter, "a positive mean")
            warnings.warn(
                "Russian roulette with a Poisson law has infinite variance for every Lipschitz "
                "constant above 0. Use law='geometric', whose variance is finite.",
                stacklevel=2,
            )
        self.law = law
        self.parameter = parameter
        self.exact_terms = require_integer("exact_terms", exact_terms, least=0)

    def probe_seed(self, seed: tf.Tensor) -> tf.Tensor:
        return random.fold_in(seed, 1)

    def sums(
        self,
        linearization: Linearization,
        v: tf.Tensor,
        image: tf.Tensor,
        *,
        seed: tf.Tensor,
        lipschitz: Lipschitz,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # All parts of the batch share the count.
        count_seed = random.fold_in(random.unplaced(seed), 0)
        extra, survival = self._law(count_seed, lipschitz, v.dtype)
        terms = self.exact_terms + extra

        def weight(k):
            # If no term is drawn and none is exact, the first term gets the weight 0.
            drawn = tf.cast(k <= tf.cast(terms, k.dtype), k.dtype)
            return drawn / survival(k - self.exact_terms)

        return self.weighted_sums(linearization, v, image, terms=terms, weight=weight)

    def survival(self, lipschitz: float | None = None) -> float:
        """Returns ``q`` of the geometric law, the probability of a further term."""
        if self.parameter is not None:
            q = 1.0 - self.parameter
            if lipschitz is not None and q <= lipschitz**2:
                warnings.warn(
                    f"Russian roulette with survival probability {q:.3g} has infinite variance "
                    f"for a Lipschitz constant of {lipschitz:.3g}: it must exceed its square, "
                    f"{lipschitz**2:.3g}.  Lower `parameter`, or leave it None.",
                    stacklevel=2,
                )
            return q
        if lipschitz is None or not lipschitz < 1.0:
            raise ValueError(
                "RussianRoulette(parameter=None) follows the Lipschitz constant of g, which "
                f"must be known and below 1; received {lipschitz!r}.  Give `parameter`."
            )
        return max(float(lipschitz) ** (4.0 / 3.0), 0.05)

    def _law(self, seed, lipschitz, dtype):
        """Returns a draw of ``N`` and the function ``j ↦ P(N ≥ j)``, which is 1 for ``j ≤ 0``."""
        if self.law == "geometric":
            q = self.survival(lipschitz)
            uniform = random.uniform([], seed, tf.float64)
            # N = 1, 2, … with P(N ≥ j) = q^{j−1}, by inversion on (0, 1].
            extra = 1 + tf.cast(tf.floor(tf.math.log(1.0 - uniform) / math.log(q)), tf.int32)
            return extra, lambda j: tf.pow(tf.constant(q, dtype), tf.nn.relu(j - 1.0))
        if is_traced_for_xla():
            raise ValueError(
                "XLA cannot draw from the Poisson law of Russian roulette. Use law='geometric', or "
                "leave out jit_compile=True."
            )
        mean = tf.constant(self.parameter, tf.float64)
        extra = tf.random.stateless_poisson([], seed, lam=mean, dtype=tf.int32)

        def at_least(j):
            tail = tf.math.igamma(tf.maximum(j, 1.0), tf.cast(mean, dtype))
            return tf.where(j <= 0.0, tf.ones([], dtype), tail)

        return extra, at_least

    def truncation_bound(self, lipschitz: float) -> float:
        # The estimate is unbiased if the series converges.
        return 0.0 if lipschitz < 1.0 else math.inf

    def get_config(self) -> dict[str, Any]:
        options = {"law": self.law, "parameter": self.parameter, "exact_terms": self.exact_terms}
        return {**options, **self.series_config()}
