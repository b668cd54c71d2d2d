"""Estimators of the log-determinant of a residual block.

    log |det (I + J)| = tr log(I + J) = Σ_{k≥1} (−1)^{k+1}/k · tr(Jᵏ),   ‖J‖₂ < 1

An estimator is an object that is handed to a block.  It receives the
linearization of ``g`` at a batch and returns one number a sample, in nats, of
the direction ``x ↦ x + g(x)``.

Value and gradient are separate questions.  The series estimators return the
series itself as their value, while their gradient is the Neumann form

    ∇ tr log(I + J) = tr((I + J)⁻¹ ∇J) ≈ wᵀ (∇J) v,   w = Σ_{k<n} (−Jᵀ)ᵏ v,

whose left factor ``w`` is a by-product of the series.  Nothing is differentiated
through the series, so memory does not grow with the number of terms.

Sources: Behrmann et al. 2019 (arXiv:1811.00995), eq. 4 and algorithm 2; Chen et
al. 2019 (arXiv:1906.02735), eqs. 6 and 8; Hutchinson 1990 for the trace.
"""

import math
import warnings

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics import probes as _probes
from iresnet_tf.numerics.configured import Configured


def truncation_bound(lipschitz, terms):
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

    def truncation_bound(self, lipschitz):
        """Bound on the bias of the estimate, nats a dimension, if ``Lip(g) ≤ lipschitz``."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("iresnet_tf")
class Exact(LogDet):
    """``log |det(I + J)|`` from the whole Jacobian, ``D`` Jacobian products a sample.

    No bias and no noise; for dimensions up to a few hundred.  The gradient is
    that of the determinant, ``tr((I + J)⁻¹ ∇J)``.
    """

    def __call__(self, linearization, seed=None, lipschitz=None):
        del seed, lipschitz
        value = linearization.value
        dimension = _dimension(value)
        basis = tf.reshape(tf.eye(dimension, dtype=value.dtype), [dimension, 1, *value.shape[1:]])
        # columns[i, b] = J_b e_i.  A map without any activation leaves the batch axis at 1.
        columns = linearization.jvp(basis)
        columns = tf.reshape(columns, [dimension, -1, dimension])
        columns = tf.broadcast_to(columns, [dimension, tf.shape(value)[0], dimension])
        jacobian = tf.transpose(columns, [1, 2, 0])
        return _log_abs_determinant(tf.eye(dimension, dtype=value.dtype) + jacobian)

    def truncation_bound(self, lipschitz):
        del lipschitz
        return 0.0

    def get_config(self):
        return {}


class _Series(LogDet):
    """What the two series share: probes, their products, and the Neumann gradient."""

    def __init__(self, probes, distribution):
        if isinstance(distribution, str):
            if distribution not in _probes.DISTRIBUTIONS:
                raise ValueError(
                    f"distribution is one of {sorted(_probes.DISTRIBUTIONS)} or an array of "
                    f"probes; received {distribution!r}."
                )
            _require_positive_integer("probes", probes)
            self.distribution = distribution
            self.probes = int(probes)
        else:
            self.distribution = np.asarray(distribution)
            probes = self.distribution
            if probes.ndim < 2 or not np.all(np.isfinite(probes)) or not np.any(probes):
                raise ValueError(
                    "An array of probes is finite, not all zero, and of shape [probes, …event]; "
                    f"received shape {probes.shape}."
                )
            self.probes = self.distribution.shape[0]

    def _draw(self, value, seed):
        """Probes ``[probes, batch, …event]`` and the weight of each in the trace."""
        event = value.shape[1:]
        if isinstance(self.distribution, str):
            draw = _probes.DISTRIBUTIONS[self.distribution]
            shape = tf.concat([tf.shape(value)[:1], [self.probes], event], 0)
            drawn = draw(shape, _probes.as_seed(seed), value.dtype)
            rank = len(event) + 2
            return tf.transpose(drawn, [1, 0, *range(2, rank)]), 1.0 / self.probes
        dimension = _dimension(value)
        if self.distribution.size != self.probes * dimension:
            raise ValueError(
                f"The probes have {self.distribution.size // self.probes} elements each and "
                f"the samples {dimension} (shape {tuple(event)}); they must agree."
            )
        # tr(A) is estimated by D · Σ ⟨v, A v⟩ / Σ ‖v‖²: exact where the probes are
        # any multiple of an orthonormal basis, the mean for ±1 probes.
        weight = dimension / float(np.sum(np.square(self.distribution)))
        drawn = tf.constant(self.distribution, value.dtype)
        drawn = tf.reshape(drawn, [self.probes, 1, *event])
        return tf.broadcast_to(drawn, tf.concat([[self.probes], tf.shape(value)], 0)), weight

    def _estimate(self, linearization, seed, sums):
        """``sums(v) → (Σ cₖ(−1)^{k+1}/k ⟨v, (Jᵀ)ᵏv⟩, Σ cₖ(−Jᵀ)^{k−1} v)``, averaged over probes."""
        v, weight = self._draw(linearization.value, seed)
        series, neumann = sums(v)
        surrogate = _inner(tf.stop_gradient(neumann), linearization.jvp(v))
        # The value is the series, the gradient that of the surrogate.
        per_probe = tf.stop_gradient(series - surrogate) + surrogate
        return weight * tf.reduce_sum(per_probe, 0)

    def _probe_config(self):
        distribution = self.distribution
        if not isinstance(distribution, str):
            return {"probes": self.probes, "distribution": distribution.tolist()}
        return {"probes": self.probes, "distribution": distribution}


@keras.saving.register_keras_serializable("iresnet_tf")
class PowerSeries(_Series):
    """``Σ_{k=1}^{n} (−1)^{k+1}/k · vᵀ Jᵏ v``, averaged over probes ``v``.

    Biased by the truncation: for real eigenvalues an odd number of terms
    overstates the log-determinant, so read it with its `truncation_bound`.

    Args:
        terms: ``n ≥ 1``, the number of terms, each one Jacobian product.
        probes: number of probe vectors a sample.
        distribution: ``"rademacher"``, ``"gaussian"``, or an array of probes
            ``[probes, …event]`` used for every sample; an array is weighted by
            ``D / Σ‖v‖²``, so the rows of an identity give the exact trace.

    Raises:
        ValueError: for zero or non-integer ``terms`` or ``probes``, or an
            unknown distribution.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 2.
    """

    def __init__(self, terms, probes=1, distribution="rademacher"):
        _require_positive_integer("terms", terms)
        super().__init__(probes, distribution)
        self.terms = int(terms)

    def __call__(self, linearization, seed, lipschitz=None):
        del lipschitz

        def sums(v):
            power, series, neumann = v, 0.0, v
            for k in range(1, self.terms + 1):
                power = -linearization.vjp(power)
                series -= _inner(power, v) / k
                if k < self.terms:
                    neumann += power
            return series, neumann

        return self._estimate(linearization, seed, sums)

    def truncation_bound(self, lipschitz):
        return truncation_bound(lipschitz, self.terms)

    def get_config(self):
        return {"terms": self.terms, **self._probe_config()}


@keras.saving.register_keras_serializable("iresnet_tf")
class RussianRoulette(_Series):
    """Unbiased series: random length ``m + N``, terms reweighted by ``1 / P(N ≥ k − m)``.

        Σ_{k≤m} aₖ + Σ_{j=1}^{N} a_{m+j} / P(N ≥ j),   aₖ = (−1)^{k+1}/k · vᵀ Jᵏ v

    ``N`` is drawn once a call, for the whole batch.  The expectation is the full
    series.  Its variance is finite only if ``P(N ≥ j)`` falls more slowly than
    ``L^{2j}``: for the geometric law ``P(N ≥ j) = q^{j−1}`` this asks
    ``q > L²``, and no Poisson law satisfies it.

    Args:
        law: ``"geometric"``, or ``"poisson"`` (infinite variance; offered for
            comparison, with a warning).
        parameter: geometric: the stopping probability ``p = 1 − q``, or ``None``
            for ``q = L``, the constant that ``g`` is held to: it leaves the variance
            finite, and minimises (second moment × expected length) of a tail of
            uncorrelated terms that fall like ``Lᵏ``.  Poisson: the mean, 2 by default.
        exact_terms: ``m ≥ 0`` terms always kept.
        probes: number of probe vectors a sample.
        distribution: as for `PowerSeries`.

    Raises:
        ValueError: for a parameter outside its law's range, negative
            ``exact_terms``, or an adaptive ``q`` without a Lipschitz constant
            below 1.

    Source: Chen et al. 2019 (arXiv:1906.02735), eqs. 6 and 8.
    """

    LAWS = ("geometric", "poisson")

    def __init__(
        self,
        law="geometric",
        parameter=None,
        exact_terms=2,
        probes=1,
        distribution="rademacher",
    ):
        super().__init__(probes, distribution)
        if law not in self.LAWS:
            raise ValueError(f"law is one of {self.LAWS}; received {law!r}.")
        if law == "geometric" and parameter is not None and not 0.0 < parameter < 1.0:
            raise ValueError(
                "The geometric parameter is a stopping probability between 0 and 1 "
                f"(exclusive), or None to follow the Lipschitz bound; received {parameter!r}."
            )
        if law == "poisson":
            parameter = 2.0 if parameter is None else parameter
            if not parameter > 0.0:
                raise ValueError(f"The Poisson parameter is a positive mean; got {parameter!r}.")
            warnings.warn(
                "Russian roulette by a Poisson law has infinite variance for every Lipschitz "
                "constant above 0; law='geometric' has not.",
                stacklevel=2,
            )
        if exact_terms != int(exact_terms) or exact_terms < 0:
            raise ValueError(f"exact_terms is an integer ≥ 0; received {exact_terms!r}.")
        self.law = law
        self.parameter = None if parameter is None else float(parameter)
        self.exact_terms = int(exact_terms)

    def __call__(self, linearization, seed, lipschitz=None):
        seed = _probes.as_seed(seed)
        count_seed, probe_seed = _probes.fold_in(seed, 0), _probes.fold_in(seed, 1)
        dtype = linearization.value.dtype
        extra, survival = self._law(count_seed, lipschitz, dtype)
        length = self.exact_terms + extra

        def sums(v):
            def body(k, power, series, neumann):
                weight = 1.0 / survival(tf.cast(k - self.exact_terms, dtype))
                # On entry power = (−Jᵀ)^{k−1} v.
                neumann += weight * power
                power = -linearization.vjp(power)
                series -= weight * _inner(power, v) / tf.cast(k, dtype)
                return k + 1, power, series, neumann

            start = (tf.constant(1), v, tf.zeros(tf.shape(v)[:2], dtype), tf.zeros_like(v))
            _, _, series, neumann = tf.while_loop(
                lambda k, *_: k <= length,
                body,
                [tf.stop_gradient(each) for each in start],
                shape_invariants=[each.shape for each in start],
            )
            return series, neumann

        return self._estimate(linearization, probe_seed, sums)

    def survival(self, lipschitz=None):
        """Geometric: ``q``, the chance that a further term follows."""
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
        return max(float(lipschitz), 0.05)

    def _law(self, seed, lipschitz, dtype):
        """The drawn ``N`` and the function ``j ↦ P(N ≥ j)`` (1 for ``j ≤ 0``)."""
        if self.law == "geometric":
            q = self.survival(lipschitz)
            uniform = tf.random.stateless_uniform([], seed, dtype=tf.float64)
            # N = 1, 2, … with P(N ≥ j) = q^{j−1}, by inversion on (0, 1].
            extra = 1 + tf.cast(tf.floor(tf.math.log(1.0 - uniform) / math.log(q)), tf.int32)
            return extra, lambda j: tf.pow(tf.constant(q, dtype), tf.nn.relu(j - 1.0))
        mean = tf.constant(self.parameter, tf.float64)
        extra = tf.random.stateless_poisson([], seed, lam=mean, dtype=tf.int32)

        def at_least(j):
            tail = tf.math.igamma(tf.maximum(j, 1.0), tf.cast(mean, dtype))
            return tf.where(j <= 0.0, tf.ones([], dtype), tail)

        return extra, at_least

    def truncation_bound(self, lipschitz):
        """0: the estimate is unbiased wherever the series converges."""
        return 0.0 if lipschitz < 1.0 else math.inf

    def get_config(self):
        return {
            "law": self.law,
            "parameter": self.parameter,
            "exact_terms": self.exact_terms,
            **self._probe_config(),
        }


def get(identifier):
    """The estimator itself, from an estimator or its serialised configuration."""
    if isinstance(identifier, LogDet):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        "log_det is an estimator, as PowerSeries(terms=10), RussianRoulette() or Exact(); "
        f"received {identifier!r}."
    )


def _dimension(value):
    """Elements of one sample."""
    event = value.shape[1:]
    if not event.is_fully_defined():
        raise ValueError(f"The shape of a sample must be known; received {value.shape}.")
    return event.num_elements()


def _inner(a, b):
    """``⟨a, b⟩`` over the event axes of ``[probes, batch, …]``."""
    return tf.reduce_sum(a * b, axis=list(range(2, a.shape.rank)))


def _log_abs_determinant(matrix):
    """``[batch, D, D] → [batch]``; written out for ``D ≤ 2``, where factoring costs more."""
    if matrix.shape[-1] == 1:
        return tf.math.log(tf.abs(matrix[:, 0, 0]))
    if matrix.shape[-1] == 2:
        product = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
        return tf.math.log(tf.abs(product))
    return tf.linalg.slogdet(matrix)[1]


def _require_positive_integer(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is an integer of at least 1; received {value!r}.")
