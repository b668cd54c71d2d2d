"""The truncated power series of the log-determinant, and what any series of it shares."""

import math

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics import random
from iresnet_tf.numerics.log_det.estimator import LogDet, dimension_of, truncation_bound


class Series(LogDet):
    """What the two series share: probes, their products, and the Neumann gradient."""

    DTYPES = (None, "bfloat16")

    def __init__(self, probes, distribution, series_dtype):
        if series_dtype not in self.DTYPES:
            raise ValueError(
                f"series_dtype is one of {self.DTYPES}, the first for that of the values; "
                f"received {series_dtype!r}."
            )
        self.series_dtype = series_dtype
        if isinstance(distribution, str):
            if distribution not in random.DISTRIBUTIONS:
                raise ValueError(
                    f"distribution is one of {sorted(random.DISTRIBUTIONS)} or an array of "
                    f"probes; received {distribution!r}."
                )
            _require_positive_integer("probes", probes)
            self.distribution: str | np.ndarray = distribution
            self.probes = int(probes)
        else:
            probes = self.distribution = np.asarray(distribution)
            if probes.ndim < 2 or not np.all(np.isfinite(probes)) or not np.any(probes):
                raise ValueError(
                    "An array of probes is finite, not all zero, and of shape [probes, …event]; "
                    f"received shape {probes.shape}."
                )
            self.probes = probes.shape[0]

    def draw(self, value, seed):
        """Probes ``[probes, batch, …event]`` and the weight of each in the trace."""
        event = value.shape[1:]
        if isinstance(self.distribution, str):
            draw = random.DISTRIBUTIONS[self.distribution]
            shape = tf.concat([tf.shape(value)[:1], [self.probes], event], 0)
            drawn = draw(shape, random.as_seed(seed), value.dtype)
            rank = len(event) + 2
            return tf.transpose(drawn, [1, 0, *range(2, rank)]), 1.0 / self.probes
        dimension = dimension_of(value)
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

    def sums(self, linearization, v, image, seed, lipschitz):
        """``Σ cₖ(−1)^{k+1}/k ⟨v, (Jᵀ)ᵏv⟩`` and ``Σ cₖ(−Jᵀ)^{k−1} v`` for every probe ``v``.

        Args:
            linearization: see `LogDet`.
            v: ``[probes, batch, …event]``.
            image: ``J v``, of the same shape.
            seed: for what is drawn beside the probes.
            lipschitz: see `LogDet`.
        """
        raise NotImplementedError

    def __call__(self, linearization, seed, lipschitz=None):
        value, (_, neumann), image = self._estimate(linearization, seed, lipschitz)
        surrogate = _surrogate(neumann, image)
        # The value is the series, the gradient that of the surrogate.
        return tf.stop_gradient(value - surrogate) + surrogate

    def value_and_residuals(self, linearization, seed, lipschitz=None):
        value, factors, _ = self._estimate(linearization, seed, lipschitz)
        return value, factors

    def _estimate(self, linearization, seed, lipschitz):
        """The value, the probes and their weighted Neumann sums, and ``J v`` for each probe."""
        seed = random.as_seed(seed)
        v, weight = self.draw(linearization.value, self.probe_seed(seed))
        image = linearization.jvp(v)
        series, neumann = self.sums(linearization, v, tf.stop_gradient(image), seed, lipschitz)
        value = weight * tf.reduce_sum(series, 0)
        return tf.stop_gradient(value), tuple(map(tf.stop_gradient, (v, weight * neumann))), image

    def surrogate(self, linearization, factors):
        v, neumann = factors
        return _surrogate(neumann, linearization.jvp(v))

    def weighted_sums(self, linearization, v, image, terms, weight=None):
        """What `sums` returns, with ``n = terms ≥ 1`` and ``c_k = weight(k)``.

        A loop in the graph, whose size and memory are the same for any number of terms.  As
        ``⟨v, (Jᵀ)ᵏ v⟩ = ⟨(Jᵀ)^{k−1} v, J v⟩``, it takes ``n − 1`` products.

        Args:
            linearization: see `LogDet`.
            v: ``[probes, batch, …event]``.
            image: ``J v``, of the same shape.
            terms: ``n``, an integer or an integer scalar.
            weight: ``k ↦ c_k``, of a scalar of the dtype of ``v``; 1 by default.
        """
        low = v.dtype if self.series_dtype is None else tf.as_dtype(self.series_dtype)
        vjp = linearization.vjp_in(low)

        def extended(k, power, series, neumann):
            # power = (−Jᵀ)^{k−1} v.
            index, exact = tf.cast(k, v.dtype), tf.cast(power, v.dtype)
            scale = 1.0 if weight is None else weight(index)
            series += scale / index * inner(exact, image)
            return k, power, series, neumann + scale * exact

        def body(k, power, series, neumann):
            return extended(k + 1, -vjp(power), series, neumann)

        zeros = tf.zeros(tf.shape(v)[:2], v.dtype), tf.zeros_like(v)
        start = extended(tf.constant(1), tf.cast(v, low), *zeros)
        _, _, series, neumann = tf.while_loop(
            lambda k, *_: k < terms,
            body,
            [tf.stop_gradient(each) for each in start],
            shape_invariants=[each.shape for each in start],
        )
        return series, neumann

    def probe_seed(self, seed):
        """The probes' share of the seed: all of it, unless something else is drawn."""
        return seed

    def series_config(self):
        distribution = self.distribution
        if not isinstance(distribution, str):
            distribution = distribution.tolist()
        precision = {} if self.series_dtype is None else {"series_dtype": self.series_dtype}
        return {"probes": self.probes, "distribution": distribution, **precision}


@keras.saving.register_keras_serializable("iresnet_tf")
class PowerSeries(Series):
    """``Σ_{k=1}^{n} (−1)^{k+1}/k · vᵀ Jᵏ v``, averaged over probes ``v``.

    Biased by the truncation: for real eigenvalues an odd number of terms
    overstates the log-determinant, so read it with its `truncation_bound`.

    Args:
        terms: ``n ≥ 1``, the number of terms, each one Jacobian product; or ``"auto"``: the
            fewest, block by block, whose truncation bound is at most ``truncation`` for the
            Lipschitz constant that ``g`` is held to.
        probes: number of probe vectors a sample.
        distribution: ``"rademacher"``, ``"gaussian"``, or an array of probes
            ``[probes, …event]`` used for every sample; an array is weighted by
            ``D / Σ‖v‖²``, so the rows of an identity give the exact trace.
        truncation: with ``terms="auto"``, the largest bias accepted of a block, nats a
            dimension of it.
        series_dtype: ``"bfloat16"`` for the products of the series, which are summed in the
            dtype of the values, as everything else is computed: quicker where the machine
            multiplies it faster, with a rounding of about 2⁻⁸ in each term.

    Raises:
        ValueError: for zero or non-integer ``terms`` or ``probes``, an unknown
            distribution, a ``truncation`` that is not positive, or automatic terms where
            ``g`` is not held below 1.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), algorithm 2.
    """

    MARGIN = 1.004
    """A layer's norm may exceed its coefficient by a thousandth: so much for four layers."""

    def __init__(
        self, terms, probes=1, distribution="rademacher", truncation=0.01, series_dtype=None
    ):
        if terms != "auto":
            _require_positive_integer("terms", terms)
        if not truncation > 0.0:
            raise ValueError(f"truncation is a positive number of nats; received {truncation!r}.")
        super().__init__(probes, distribution, series_dtype)
        self.terms = terms if terms == "auto" else int(terms)
        self.truncation = float(truncation)

    def sums(self, linearization, v, image, seed, lipschitz):
        del seed
        return self.weighted_sums(linearization, v, image, self.number_of_terms(lipschitz))

    def number_of_terms(self, lipschitz):
        """``n``, for a ``g`` that is held to that constant."""
        if self.terms != "auto":
            return self.terms
        lipschitz = None if lipschitz is None else self.MARGIN * lipschitz
        if lipschitz is None or not lipschitz < 1.0:
            raise ValueError(
                'terms="auto" follows the Lipschitz constant of g, which must be known and below '
                f"1 with a margin of {self.MARGIN}; received {lipschitz!r}. Give a number of terms."
            )
        terms = 1
        while truncation_bound(lipschitz, terms) > self.truncation:
            terms += 1
        return terms

    def truncation_bound(self, lipschitz):
        if self.terms != "auto":
            return truncation_bound(lipschitz, self.terms)
        if not lipschitz < 1.0:
            return math.inf
        # The terms are those of the constant that g is held to: this one, less the margin.
        return truncation_bound(lipschitz, self.number_of_terms(lipschitz / self.MARGIN))

    def get_config(self):
        automatic = {"truncation": self.truncation} if self.terms == "auto" else {}
        return {"terms": self.terms, **self.series_config(), **automatic}


def _surrogate(neumann, image):
    """``Σ wᵀ J v`` over the probes."""
    return tf.reduce_sum(inner(neumann, image), 0)


def inner(a, b):
    """``⟨a, b⟩`` over the event axes of ``[probes, batch, …]``."""
    return tf.reduce_sum(a * b, axis=list(range(2, a.shape.rank)))


def _require_positive_integer(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is an integer of at least 1; received {value!r}.")
