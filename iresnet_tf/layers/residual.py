"""The invertible residual block."""

import contextvars
import math
import types
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.layers.contractive import UnknownLipschitzError, as_contractive
from iresnet_tf.layers.economy import STEP
from iresnet_tf.layers.exponents import EUCLIDEAN
from iresnet_tf.layers.inputs import require_sample_shape
from iresnet_tf.layers.inversion import InverseOptions, InverseResult
from iresnet_tf.layers.invertible import Invertible
from iresnet_tf.numerics import log_det as estimators
from iresnet_tf.numerics import residual_map, solvers
from iresnet_tf.numerics.maps import Map, in_bfloat16
from iresnet_tf.numerics.precision import as_float64, rounded_up

_BLOCKS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
"""Branch → set of its blocks, by which a shared branch is saved as one object."""

REPLACEMENTS: contextvars.ContextVar[Mapping["ResidualBlock", estimators.LogDet]]
REPLACEMENTS = contextvars.ContextVar("REPLACEMENTS", default=types.MappingProxyType({}))
"""Block → estimator that the present thread uses: see `blocks.estimator_replaced`."""


@keras.saving.register_keras_serializable("iresnet_tf")
class ResidualBlock(Invertible):
    """``y = x + g(x)``, invertible if ``Lip(g) < 1``.

    Args:
        g: a `Contraction`, or any Keras layer that keeps the shape of a sample.  Several blocks
            may share one.  With a conditional ``g(x; c)`` the block is a certified invertible
            map of ``x`` for every context ``c``.
        log_det: estimator of ``log |det(I + J_g)|``; `PowerSeries(terms=10)` by default.
        solver: of the inverse; `Anderson(tolerance=1e-6)` by default.
        recompute: whether the backward pass evaluates ``g`` again instead of storing its
            intermediate values (gradient checkpointing), which trades memory for one more
            evaluation.  The gradients are the same.

    Shapes: ``[batch, …event] → [batch, …event]``.

    Raises:
        ValueError: if ``g`` is no layer, or for another type of estimator or solver; when it is
            built, if the shape of a sample is not known.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), theorem 1 and eq. 4.
    """

    def __init__(
        self,
        g: keras.layers.Layer,
        log_det: estimators.LogDet | dict | None = None,
        solver: solvers.Solver | dict | None = None,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None:
        if not isinstance(g, keras.layers.Layer):
            raise ValueError(f"g is a Keras layer, such as Contraction.mlp(…); received {g!r}.")
        kwargs.setdefault("dtype", g.dtype_policy.name)
        super().__init__(**kwargs)
        self.g = g
        self._branch = as_contractive(g)
        _BLOCKS.setdefault(g, weakref.WeakSet()).add(self)
        self.log_det = estimators.PowerSeries(terms=10) if log_det is None else log_det
        self.solver = solvers.Anderson() if solver is None else solver
        self.recompute = bool(recompute)

    @property
    def log_det(self) -> estimators.LogDet:
        """The estimator of the log-determinant; it may be replaced.

        A replacement during a model's ``fit``, ``evaluate`` or ``predict``, for example in a
        callback, does not change the steps of that call, which are compiled already.
        """
        return REPLACEMENTS.get().get(self, self._log_det)

    @log_det.setter
    def log_det(self, estimator: estimators.LogDet | dict) -> None:
        self._log_det = estimators.get(estimator)

    @property
    def solver(self) -> solvers.Solver:
        """The solver of the inverse; it may be replaced: see `log_det`."""
        return self._solver

    @solver.setter
    def solver(self, solver: solvers.Solver | dict) -> None:
        self._solver = solvers.get(solver)

    def _expected_event_ndims(self):
        return self._branch.event_ndims

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """The shape of one context; ``None`` if ``g`` is not conditional."""
        return self._branch.context_shape

    def build(self, input_shape: tuple) -> None:
        require_sample_shape(self.name, input_shape)
        if not self.g.built:
            self.g.build(tuple(input_shape))
        super().build(input_shape)

    def call(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        g = self._forward_map(self._condition(context, x))
        return residual_map.add(g, x, recompute=self.recompute)

    def _forward_and_log_det(self, x, *, seed, context):
        return residual_map.transform(
            self._forward_map(context),
            x,
            self.log_det,
            seed,
            lipschitz=self._constant_for(self.log_det),
            recompute=self.recompute,
            share=STEP.get().economy.log_det_share,
        )

    def _forward_map(self, context: tf.Tensor | None) -> Map:
        """Returns ``g`` with the products of the present training step, if there is one."""
        g, step = self._map(context), STEP.get()
        if step.economy.product_dtype is None:
            return g
        return in_bfloat16(g, step.next_seed())

    def _map(self, context: tf.Tensor | None) -> Map:
        return self._branch.bind(context) if self.is_conditional else self._branch.bind()

    def _constant_for(self, estimator):
        if estimator.takes_spectral_bound and not self.is_euclidean():
            return None
        return self.lipschitz_target_or_none()

    def is_euclidean(self) -> bool:
        """Returns whether the constants of ``g`` bound its change in the 2-norm."""
        return self._branch.output_exponent in (None, EUCLIDEAN)

    def lipschitz_target_or_none(self):
        """Returns the constant that training holds ``g`` to, or ``None`` if it is not known."""
        try:
            return self._branch.lipschitz_target()
        except UnknownLipschitzError:
            return None

    def inverse(
        self,
        y: Any,
        *,
        tolerance: float | None = None,
        context: Any = None,
        lipschitz: float | None = None,
    ) -> InverseResult:
        """Returns ``x`` with ``x + g(x) = y``, as an `InverseResult`; ``x`` is differentiable.

        ``error_bound = (residual + rounding) D^|1/2 − 1/p| / (1 − L)`` with the certified ``L``
        of the current weights, in the p-norm in which ``g`` contracts (mostly 2); ``inf`` if
        ``L`` is unknown or not below 1, and in a function that XLA compiles, which cannot compute
        ``L``.  The gradient follows from the implicit function theorem.

        Args:
            y, context: see `Invertible.inverse`, also for the errors raised.
            tolerance: largest root mean square of ``x − F⁻¹(y)`` over a sample; by default the
                tolerance of the solver applies.
            lipschitz: a bound on ``Lip(g)`` that replaces the certified one.
        """
        y = self._prepare_output(y)
        return self._inverse(y, self._inverse_options(y, tolerance, context), lipschitz)

    def _inverse(self, y, options, lipschitz=None):
        x, found, margin = self._solved(residual_map.invert, y, options)
        bound = self._error_bound(found.residual, margin, lipschitz)
        return InverseResult(x, found.iterations, found.residual, found.converged, bound)

    def _inverse_point(self, y, options):
        return self._solved(residual_map.invert_point, y, options)

    def _solved(self, function, y, options: InverseOptions):
        return function(
            self._map(options.context),
            y,
            self.solver,
            tolerance=self._residual_tolerance(options.block_tolerance),
            path_steps=options.path_steps,
            initial=options.initial,
        )

    def _residual_tolerance(self, error):
        """Returns the largest residual that leaves a root mean square error of at most ``error``.

        ``‖x − F⁻¹(y)‖_p ≤ ‖r‖_p / (1 − L)`` with ``‖r‖_p ≤ D^{1/p} max |r|``, and the 2-norm is
        at most ``D^{max(0, 1/2 − 1/p)}`` times the p-norm.  The root mean square is the 2-norm
        over ``√D``, so it is at most ``D^{max(0, 1/p − 1/2)} max |r| / (1 − L)``.  ``L`` is the
        constant that the constraints enforce, or 0 if no constant below 1 is known.
        """
        lipschitz = self.lipschitz_target_or_none()
        if error is None or lipschitz is None:
            return error
        gap = 1.0 - as_float64(lipschitz)
        power = tf.maximum(as_float64(0.0), as_float64(self._reciprocal_exponent()) - 0.5)
        ratio = tf.pow(as_float64(self._dimension()), power)
        return as_float64(error) * tf.where(gap > 0.0, gap, 1.0) / ratio

    def _error_bound(self, residual, margin, lipschitz):
        """Returns ``(residual + rounding) D^|1/2 − 1/p| / (1 − L)``, computed in float64."""
        lipschitz = self.lipschitz_bound_or_inf() if lipschitz is None else lipschitz
        gap = 1.0 - as_float64(lipschitz)
        # The 2-norm of the residual is a sum of D squares, each a rounding off.
        epsilon = float(np.finfo(residual.dtype.as_numpy_dtype).eps)
        norm = as_float64(residual) * (1.0 + (self._dimension() + 8.0) * epsilon)
        rounding = as_float64(margin) * as_float64(_or_inf(self._branch.rounding_growth))
        bound = (norm + rounding) * as_float64(self._norm_ratio()) * (1.0 + 1e-14) / gap
        return rounded_up(tf.where(gap > 0.0, bound, math.inf), residual.dtype)

    def _norm_ratio(self):
        """Returns ``D^|1/2 − 1/p|``, by which a bound in the 2-norm exceeds one in the p-norm."""
        exponent, dimension = self._reciprocal_exponent(), self._dimension()
        if tf.is_tensor(exponent):
            return dimension ** tf.abs(0.5 - as_float64(exponent))
        return dimension ** abs(0.5 - exponent)

    def _reciprocal_exponent(self):
        return (self._branch.output_exponent or EUCLIDEAN).reciprocal()

    def _dimension(self):
        return float(math.prod(self.event_shape))

    def lipschitz_bound(self) -> float | tf.Tensor:
        """Returns a certified upper bound on ``Lip(g)``: see `Contraction.lipschitz_bound`.

        If `is_vouched`, it is only as good as the constant that was given.
        """
        return self._branch.lipschitz_bound()

    @property
    def is_vouched(self) -> bool:
        """Whether `lipschitz_bound` rests on a constant that somebody vouched for."""
        return self._branch.is_vouched

    def lipschitz_bound_or_inf(self) -> float | tf.Tensor:
        """Returns `lipschitz_bound`, or ``inf`` if the constant of ``g`` is not known."""
        return _or_inf(self.lipschitz_bound)

    def inverse_lipschitz_bound(self) -> float | tf.Tensor:
        """Returns ``D^|1/2 − 1/p| / (1 − L)``; ``inf`` if ``L`` is unknown or not below 1."""
        lipschitz, ratio = self.lipschitz_bound_or_inf(), self._norm_ratio()
        if tf.is_tensor(lipschitz):
            return tf.where(lipschitz < 1.0, ratio / (1.0 - lipschitz), math.inf)
        return ratio / (1.0 - lipschitz) if lipschitz < 1.0 else math.inf

    def get_config(self) -> dict[str, Any]:
        g = keras.saving.serialize_keras_object(self.g)
        if len(_BLOCKS[self.g]) > 1:
            # Keras marks shared objects so, but only at the top level.
            g["shared_object_id"] = id(self.g)
        return {
            **super().get_config(),
            "g": g,
            "log_det": self.log_det.serialized(),
            "solver": self.solver.serialized(),
            "recompute": self.recompute,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "g": keras.saving.deserialize_keras_object(config["g"])})


def _or_inf(bound):
    """Returns ``bound()``, or ``inf`` if it depends on an unknown Lipschitz constant."""
    try:
        return bound()
    except UnknownLipschitzError:
        return math.inf
