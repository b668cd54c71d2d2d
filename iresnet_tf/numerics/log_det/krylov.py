"""The log-determinant by quadrature in a Krylov space."""

import math
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from iresnet_tf.internals import is_traced_for_xla
from iresnet_tf.numerics import random
from iresnet_tf.numerics.log_det.estimator import MARGIN, Lipschitz, LogDet, truncation_bound
from iresnet_tf.numerics.log_det.krylov_space import LARGEST, KrylovSpace
from iresnet_tf.numerics.log_det.series import Series
from iresnet_tf.numerics.maps import Linearization
from iresnet_tf.numerics.options import require_integer_or_auto, require_positive


@keras.saving.register_keras_serializable("iresnet_tf")
class Krylov(Series):
    """``log |det(I + J)| ≈ ‖v‖² e₁ᵀ log(I + Hₙ) e₁``, averaged over probes ``v``.

    ``Hₙ`` is the projection of ``Jᵀ`` on the space of ``v, Jᵀv, …, (Jᵀ)ⁿ⁻¹v``.  From the same ``n``
    products as a power series it gets a far more accurate value, and the gradient
    ``tr((I + J)⁻¹ ∇J) ≈ wᵀ (∇J) v`` with ``w = v − Jᵀ u`` for the ``u`` of the space that has the
    least residual ``‖v − (I + Jᵀ) u‖``.  With as many products as dimensions both are exact for
    each probe.

    Args:
        products: ``n ≥ 1``, the number of Jacobian products; or ``"auto"`` for the smallest number
            that brings the certified error of every sample of a batch to ``truncation``: see
            `value_and_bound`.
        tolerance: if it is given, the products stop when ``‖v − (I + Jᵀ) w‖ / ‖v‖`` is at most this
            for every sample of a batch, provided that ``‖J‖₂ ≤ 1``.
        truncation: with ``products="auto"``, the largest accepted error of a block, in nats per
            dimension.
        lipschitz: the bound on ``‖J‖₂`` to assume; by default 1.004 times the constant that ``g``
            is held to.
        probes, distribution, series_dtype: see `PowerSeries`.

    Raises:
        ValueError: if ``products`` or ``probes`` is no positive integer, ``tolerance`` or
            ``truncation`` is not positive, or ``"auto"`` is combined with a ``tolerance``; for an
            unknown distribution; in a call, for automatic products if no constant below 1 bounds
            ``‖J‖₂``, and for a number of products that depends on the data in a function that XLA
            compiles.

    Sources: Golub and Meurant 2010, "Matrices, Moments and Quadrature"; Saad and Schultz 1986
    (doi:10.1137/0907058) for ``w``; the application to residual flows is this package's.
    """

    takes_spectral_bound = True

    def __init__(
        self,
        products: int | str = 4,
        tolerance: float | None = None,
        truncation: float = 0.01,
        lipschitz: float | None = None,
        probes: int = 1,
        distribution: str | ArrayLike = "rademacher",
        series_dtype: str | None = None,
    ) -> None:
        self.products = require_integer_or_auto("products", products)
        if self.products == "auto" and tolerance is not None:
            raise ValueError(
                f'products="auto" follows truncation; received tolerance={tolerance!r} as well. '
                "Leave one of them out, or give the largest number of products."
            )
        if tolerance is not None:
            tolerance = require_positive("tolerance", tolerance, "a positive relative residual")
        if lipschitz is not None:
            takes = "a constant between 0 and 1"
            lipschitz = require_positive("lipschitz", lipschitz, takes, below=1.0)
        super().__init__(probes=probes, distribution=distribution, series_dtype=series_dtype)
        self.tolerance = tolerance
        self.truncation = require_positive("truncation", truncation, "a positive number of nats")
        self.lipschitz = lipschitz

    def sums(
        self,
        linearization: Linearization,
        v: tf.Tensor,
        image: tf.Tensor,
        *,
        seed: tf.Tensor,
        lipschitz: Lipschitz,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        space = self._space(linearization, v, image, self._constant(lipschitz))
        return space.values(), space.solutions()

    def value_and_bound(
        self, linearization: Linearization, seed: tf.Tensor, lipschitz: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the estimate and a bound on its truncation error, both in nats.

            |vᵀ log(I + J) v − ‖v‖² e₁ᵀ log(I + Hₙ) e₁| ≤ ‖v‖ ‖J v‖ ∫₀¹ |ρₙ(t)| / (1 − t L) dt

        ``‖v‖ ρₙ(t)`` is the length of the residual of ``(I + t Jᵀ) w = v`` in the space, which is
        known.  The bound does not cover the rounding of the products.

        Args:
            linearization, seed: see `LogDet.__call__`.
            lipschitz: ``L < 1``, a bound on ``‖J‖₂``.

        Returns:
            ``[batch]`` and ``[batch]``, without gradients.

        Raises:
            ValueError: if ``L`` is not below 1.
        """
        if not lipschitz < 1.0:
            raise ValueError(
                f"The bound needs a constant below 1 that bounds ‖J‖₂; received {lipschitz!r}."
            )
        v, weight = self.draw(linearization.value, self.probe_seed(random.as_seed(seed)))
        space = self._space(linearization, v, linearization.jvp(v), float(lipschitz))
        sums = (tf.reduce_sum(each, 0) for each in (space.values(), space.bounds()))
        value, bound = (tf.stop_gradient(weight * each) for each in sums)
        return value, bound

    def _constant(self, lipschitz):
        """Returns the bound on ``‖J‖₂`` to assume, or ``None`` if none below 1 is known."""
        if self.lipschitz is not None:
            return self.lipschitz
        if lipschitz is not None and lipschitz < 1.0:
            return min(MARGIN * float(lipschitz), 0.5 + 0.5 * float(lipschitz))
        if self.products == "auto":
            raise ValueError(
                'products="auto" needs a known constant below 1 that bounds ‖J‖₂; received '
                f"{lipschitz!r}. A constant in another p-norm does not bound ‖J‖₂. Give a number "
                'of products, or take PowerSeries("auto").'
            )
        return None

    def _space(self, linearization, v, image, constant):
        """Returns the Krylov spaces of the probes ``v``, as large as the options demand."""
        low = v.dtype if self.series_dtype is None else tf.as_dtype(self.series_dtype)
        space = KrylovSpace.of_probes(linearization.vjp_in(low), low, v, image, constant)
        largest = space.dimension
        if not isinstance(self.products, str):
            largest = min(self.products, largest)
            if self.tolerance is None:
                return space.extended(largest)
        if is_traced_for_xla():
            raise ValueError(
                f"XLA cannot compile {self!r}, whose number of products depends on the data. Give "
                "a number of products and no tolerance, or leave out jit_compile=True."
            )
        if self.tolerance is not None:
            return space.extended_while(lambda s: s.residuals() > self.tolerance, largest)
        return space.extended_while(lambda s: s.relative_bounds() > self.truncation, largest)

    def for_target(self, target: float | None) -> LogDet:
        if target is None or not target < 1.0:
            return self
        options = self.tolerance, self.truncation, self._constant(target)
        return Krylov(self.products, *options, **self.series_config())

    def truncation_bound(self, lipschitz: float) -> float:
        """Bounds the truncation error if ``‖J‖₂ ≤ lipschitz``, in nats per dimension.

        ``n`` products are exact for polynomials of degree ``n``, so the error is at most twice the
        largest rest of the series on the disc of that radius.  Automatic products keep it at
        ``truncation`` for the constant that they assume: see `for_target`.  Without such a
        constant, and with a ``tolerance``, the bound is that of a single product.

        The integrals are exact for norms up to that constant, or 0.99.  Beyond, and from 1 on, the
        bound is infinite.
        """
        reckoned = self.lipschitz or 0.0
        if not lipschitz < 1.0 or lipschitz > max(reckoned, LARGEST):
            return math.inf
        if self.products == "auto" and reckoned:
            # 1 / (1 − t L) grows by at most this factor if L exceeds what was assumed.
            return self.truncation * max(1.0, (1.0 - reckoned) / (1.0 - lipschitz))
        if isinstance(self.products, str) or self.tolerance is not None:
            return 2.0 * truncation_bound(lipschitz, 1)
        return 2.0 * truncation_bound(lipschitz, self.products)

    def get_config(self) -> dict[str, Any]:
        options: dict[str, Any] = {"products": self.products}
        if self.tolerance is not None:
            options["tolerance"] = self.tolerance
        if self.products == "auto":
            options["truncation"] = self.truncation
        if self.lipschitz is not None:
            options["lipschitz"] = self.lipschitz
        return {**options, **self.series_config()}
