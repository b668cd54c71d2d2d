"""The common part of the estimators that sum a series: probes, products, Neumann gradient."""

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from iresnet_tf.numerics import random
from iresnet_tf.numerics.axes import dimension_of
from iresnet_tf.numerics.log_det.estimator import Lipschitz, LogDet, Tensors
from iresnet_tf.numerics.maps import Linearization
from iresnet_tf.numerics.options import require_integer
from iresnet_tf.numerics.orders import first_order_only

FIRST_ORDER = (
    "The gradient of a series is its Neumann form, which has no second derivative. "
    "Use log_det=Exact() where scores or Laplacians of log_prob are differentiated."
)


class Series(LogDet):
    """Base of the estimators that sum ``c_k (−1)^{k+1}/k · vᵀ Jᵏ v`` over probes ``v``.

    A subclass defines `sums` by means of `weighted_sums`, `truncation_bound` and `get_config`;
    this class draws the probes and gives the estimate its Neumann gradient.

    Args:
        probes: number of probe vectors for each sample.
        distribution: ``"rademacher"``, ``"gaussian"``, or an array ``[probes, …event]``.
        series_dtype: ``"bfloat16"``, or ``None`` for the dtype of the values.

    Raises:
        ValueError: for other options.
    """

    def __init__(
        self, *, probes: int, distribution: str | ArrayLike, series_dtype: str | None
    ) -> None:
        if series_dtype not in (None, "bfloat16"):
            raise ValueError(
                "series_dtype is 'bfloat16', or None for the dtype of the values; received "
                f"{series_dtype!r}."
            )
        self.series_dtype = series_dtype
        if isinstance(distribution, str):
            if distribution not in random.DISTRIBUTIONS:
                raise ValueError(
                    f"distribution is one of {sorted(random.DISTRIBUTIONS)} or an array of "
                    f"probes; received {distribution!r}."
                )
            self.distribution: str | np.ndarray = distribution
            self.probes = require_integer("probes", probes)
        else:
            vectors = self.distribution = np.asarray(distribution)
            is_numeric = vectors.ndim >= 2 and vectors.dtype.kind in "iuf"
            if not is_numeric or not np.all(np.isfinite(vectors)) or not np.any(vectors):
                raise ValueError(
                    "An array of probes is finite, not all zero, and of shape [probes, …event]; "
                    f"received shape {vectors.shape} of {vectors.dtype.name}."
                )
            self.probes = vectors.shape[0]

    def draw(self, value: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, float]:
        """Returns probes ``[probes, batch, …event]`` and the weight of each in the trace."""
        event = value.shape[1:]
        if isinstance(self.distribution, str):
            draw = random.DISTRIBUTIONS[self.distribution]
            shape = tf.concat([tf.shape(value)[:1], [self.probes], event], 0)
            drawn = draw(shape, random.as_seed(seed), value.dtype)
            return tf.transpose(drawn, [1, 0, *range(2, len(event) + 2)]), 1.0 / self.probes
        dimension = dimension_of(value)
        if self.distribution.size != self.probes * dimension:
            raise ValueError(
                f"The probes have {self.distribution.size // self.probes} elements each and "
                f"the samples {dimension} (shape {tuple(event)}); they must agree."
            )
        # tr(A) ≈ D · Σ ⟨v, A v⟩ / Σ ‖v‖² is exact for a multiple of an orthonormal basis, and the
        # mean for probes of ±1.
        weight = dimension / float(np.sum(np.square(self.distribution)))
        probes = tf.reshape(tf.constant(self.distribution, value.dtype), [self.probes, 1, *event])
        return tf.broadcast_to(probes, tf.concat([[self.probes], tf.shape(value)], 0)), weight

    @abc.abstractmethod
    def sums(
        self,
        linearization: Linearization,
        v: tf.Tensor,
        image: tf.Tensor,
        *,
        seed: tf.Tensor,
        lipschitz: Lipschitz,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the series and the Neumann sum of every probe, both without gradient.

            Σ c_k (−1)^{k+1}/k ⟨v, (Jᵀ)ᵏ v⟩,   Σ c_k (−Jᵀ)^{k−1} v

        Args:
            linearization: of ``g`` at ``x``.
            v: probes ``[probes, batch, …event]``.
            image: ``J v``, of the same shape.
            seed: for random numbers other than the probes.
            lipschitz: the constant that ``g`` is held to, or ``None``.

        Returns:
            ``[probes, batch]``, and ``[probes, batch, …event]``.
        """

    def __call__(
        self, linearization: Linearization, seed: tf.Tensor, lipschitz: Lipschitz = None
    ) -> tf.Tensor:
        value, (_, neumann), image = self._estimate(linearization, seed, lipschitz)
        surrogate = tf.reduce_sum(inner(neumann, image), 0)
        # The value is that of the series, the gradient that of the surrogate Σ wᵀ J v.
        estimate = tf.stop_gradient(value - surrogate) + surrogate
        return first_order_only(estimate, message=FIRST_ORDER)

    def value_and_residuals(
        self, linearization: Linearization, seed: tf.Tensor, lipschitz: Lipschitz = None
    ) -> tuple[tf.Tensor, Tensors]:
        value, residuals, _ = self._estimate(linearization, seed, lipschitz)
        return value, residuals

    def _estimate(self, linearization, seed, lipschitz):
        """Returns the value, the probes with their weighted Neumann sums, and ``J v``."""
        seed = random.as_seed(seed)
        v, weight = self.draw(linearization.value, self.probe_seed(seed))
        image = linearization.jvp(v)
        series, neumann = self.sums(
            linearization, v, tf.stop_gradient(image), seed=seed, lipschitz=lipschitz
        )
        value = weight * tf.reduce_sum(series, 0)
        return tf.stop_gradient(value), tuple(map(tf.stop_gradient, (v, weight * neumann))), image

    def surrogate(
        self, linearization: Linearization, residuals: Tensors, lipschitz: Lipschitz = None
    ) -> tf.Tensor:
        v, neumann = residuals
        surrogate = tf.reduce_sum(inner(neumann, linearization.jvp(v)), 0)
        return first_order_only(surrogate, message=FIRST_ORDER)

    def weighted_sums(
        self,
        linearization: Linearization,
        v: tf.Tensor,
        image: tf.Tensor,
        *,
        terms: int | tf.Tensor,
        weight: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the results of `sums` for ``n = terms ≥ 1`` terms and ``c_k = weight(k)``.

        A loop in the graph takes ``n − 1`` products, as ``⟨v, (Jᵀ)ᵏ v⟩ = ⟨(Jᵀ)^{k−1} v, J v⟩``.
        Its memory does not depend on the number of terms.

        Args:
            linearization, v, image: see `sums`.
            terms: ``n``, an integer or an integer scalar.
            weight: ``k ↦ c_k`` for a scalar ``k`` of the dtype of ``v``; 1 by default.
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
        start = list(map(tf.stop_gradient, extended(tf.constant(1), tf.cast(v, low), *zeros)))
        shapes = [tensor.shape for tensor in start]
        return tf.while_loop(lambda k, *_: k < terms, body, start, shape_invariants=shapes)[2:]

    def probe_seed(self, seed: tf.Tensor) -> tf.Tensor:
        """Returns the seed of the probes; by default it is the seed of the call."""
        return seed

    def series_config(self) -> dict[str, Any]:
        """Returns the options that `Series` takes, as plain data for `get_config`."""
        distribution = self.distribution
        if not isinstance(distribution, str):
            distribution = distribution.tolist()
        precision = {} if self.series_dtype is None else {"series_dtype": self.series_dtype}
        return {"probes": self.probes, "distribution": distribution, **precision}


def inner(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns ``⟨a, b⟩`` over the event axes: ``[probes, batch, …event] → [probes, batch]``."""
    return tf.reduce_sum(a * b, axis=list(range(2, a.shape.rank)))
