"""The invertible residual block."""

import math

import keras
import tensorflow as tf

from iresnet_tf.layers.binding import bind
from iresnet_tf.layers.invertible import InverseResult, Invertible, require_tolerance
from iresnet_tf.numerics import log_det as estimators
from iresnet_tf.numerics import residual_map, solvers


@keras.saving.register_keras_serializable("iresnet_tf")
class ResidualBlock(Invertible):
    """``y = x + g(x)``, invertible where ``Lip(g) < 1``.

    Args:
        g: a `Contraction`, or any Keras layer that maps a sample to its own shape.
            Several blocks may share one.  With a conditional one, ``g(x; c)``, the block is
            an invertible map of ``x`` for every context ``c``, and so certified.
        log_det: estimator of ``log |det(I + J_g)|``; `PowerSeries(terms=10)` by
            default.
        solver: of the inverse; `Anderson(tolerance=1e-6)` by default.
        recompute: whether the backward pass evaluates ``g`` anew instead of keeping what it
            needs of the forward pass (gradient checkpointing): memory for depth, paid with
            one more evaluation.  The gradients are the same; they are of first order.

    Shapes: ``[batch, …event] → [batch, …event]``.

    Raises:
        ValueError: if ``g`` is no layer, or for another estimator or solver type.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), theorem 1 and eq. 4.
    """

    iterative = True

    def __init__(self, g, log_det=None, solver=None, recompute=False, **kwargs):
        if not isinstance(g, keras.layers.Layer):
            raise ValueError(f"g is a Keras layer, as Contraction.mlp(…); received {g!r}.")
        kwargs.setdefault("dtype", g.dtype_policy.name)
        super().__init__(**kwargs)
        self.g = g
        # How many blocks hold g: see `get_config`.
        g._number_of_blocks = getattr(g, "_number_of_blocks", 0) + 1
        self.log_det = estimators.PowerSeries(terms=10) if log_det is None else log_det
        self.solver = solvers.Anderson() if solver is None else solver
        self.recompute = bool(recompute)

    @property
    def log_det(self):
        """The estimator; another may be assigned between calls of a model's ``fit`` and others.

        Within one, as from a callback, compiled steps keep what they were traced with.
        """
        return self._log_det

    @log_det.setter
    def log_det(self, estimator):
        self._log_det = estimators.get(estimator)

    @property
    def solver(self):
        """The solver of the inverse; another may be assigned: see `log_det`."""
        return self._solver

    @solver.setter
    def solver(self, solver):
        self._solver = solvers.get(solver)

    def expected_event_ndims(self):
        return getattr(self.g, "event_ndims", None)

    @property
    def context_shape(self):
        """Shape of one context, where ``g`` is conditional."""
        return getattr(self.g, "context_shape", None)

    def build(self, input_shape):
        if None in tuple(input_shape[1:]):
            raise ValueError(
                f"{self.name} needs the shape of a sample; received {tuple(input_shape)}."
            )
        if not self.g.built:
            self.g.build(tuple(input_shape))
        super().build(input_shape)

    def call(self, x, context=None):
        g = bind(self.g, **self.condition(context, x))
        return residual_map.add(g, x, self.recompute)

    def transform(self, x, seed, context=None):
        lipschitz = self._lipschitz_or_none()
        g = bind(self.g, context)
        return residual_map.transform(g, x, self.log_det, seed, lipschitz, self.recompute)

    def _lipschitz_or_none(self):
        if not hasattr(self.g, "lipschitz_target"):
            return None
        try:
            return self.g.lipschitz_target()
        except ValueError:
            return None

    def inverse(self, y, lipschitz=None, tolerance=None, context=None):
        """``x`` with ``x + g(x) = y``, as an `InverseResult`.

        ``error_bound = (residual + rounding) D^|1/2 − 1/p| / (1 − L)`` with the certified
        ``L`` of the weights as they are now, in the p-norm (2 unless ``g`` has another);
        ``inf`` where it is unknown or not below 1.
        ``x`` is differentiable, by the implicit function theorem.

        Args:
            y: ``[batch, …event]``.
            lipschitz: a bound on ``Lip(g)`` to use in place of the certified one.
            tolerance: on the root mean square of ``x − F⁻¹(y)`` over a sample, in place of
                the solver's own; see `Stack.inverse`.
            context: see `forward_and_log_det`.

        Raises:
            ValueError: as `forward_and_log_det`, or for a tolerance that is not positive.
            tf.errors.InvalidArgumentError: for NaN or Inf in ``y``.
        """
        y, tolerance = self.prepare_output(y), require_tolerance(tolerance)
        return self.invert(y, tolerance, lipschitz, **self.condition(context, y))

    def invert(self, y, block_tolerance=None, lipschitz=None, context=None, path_steps=None):
        options = y, block_tolerance, context, path_steps
        x, found, margin = self._solved(residual_map.invert, *options)
        bound = self._error_bound(found.residual + margin, lipschitz)
        return InverseResult(x, found.iterations, found.residual, found.converged, bound)

    def preimage(self, y, block_tolerance=None, context=None, path_steps=None):
        return self._solved(residual_map.preimage, y, block_tolerance, context, path_steps)

    def _solved(self, function, y, block_tolerance, context, path_steps):
        tolerance = self._residual_tolerance(block_tolerance)
        return function(bind(self.g, context), y, self.solver, tolerance, path_steps)

    def _residual_tolerance(self, error):
        """The largest residual that leaves a root mean square error of at most ``error``.

        ``‖x − F⁻¹(y)‖_p ≤ ‖r‖_p / (1 − L)`` with ``‖r‖_p ≤ D^{1/p} max |r|``, and the 2-norm is
        at most ``D^{max(0, 1/2 − 1/p)}`` times the p-norm: divided by ``√D``, the error is at most
        ``D^{max(0, 1/p − 1/2)} max |r| / (1 − L)``.  ``L`` is what the constraints enforce; where
        none below 1 is known, as if it were 0.
        """
        lipschitz = self._lipschitz_or_none()
        if error is None or lipschitz is None:
            return error
        gap = 1.0 - tf.cast(lipschitz, tf.float64)
        exponent = tf.cast(self._output_exponent(), tf.float64)
        ratio = tf.pow(tf.cast(self._dimension(), tf.float64), tf.maximum(0.0, exponent - 0.5))
        return tf.cast(error, tf.float64) * tf.where(gap > 0.0, gap, 1.0) / ratio

    def _error_bound(self, residual, lipschitz):
        lipschitz = self.lipschitz_bound_or_inf() if lipschitz is None else lipschitz
        gap = tf.cast(1.0 - tf.cast(lipschitz, tf.float64), residual.dtype)
        bound = residual * tf.cast(self._norm_ratio(), residual.dtype) / gap
        return tf.where(gap > 0.0, bound, tf.constant(float("inf"), residual.dtype))

    def _norm_ratio(self):
        """``D^|1/2 − 1/p|``: what a 2-norm loses by way of the p-norm in which g contracts."""
        exponent, dimension = self._output_exponent(), self._dimension()
        if tf.is_tensor(exponent):
            return dimension ** tf.abs(0.5 - tf.cast(exponent, tf.float64))
        return dimension ** abs(0.5 - exponent)

    def _output_exponent(self):
        return getattr(self.g, "output_exponent", lambda: 0.5)()

    def _dimension(self):
        return float(math.prod(self.event_shape))

    def lipschitz_bound(self):
        """Certified upper bound on ``Lip(g)`` with the weights as they are now.

        Returns:
            float; inside a `tf.function` a float64 scalar tensor.

        Raises:
            ValueError: where the constant of ``g`` is not known.
        """
        if not hasattr(self.g, "lipschitz_bound"):
            raise ValueError(
                f"The Lipschitz constant of {self.g.name} is not known. Wrap it: "
                "Contraction([layer], lipschitz=…) with a bound that you can vouch for."
            )
        return self.g.lipschitz_bound()

    def lipschitz_bound_or_inf(self):
        """`lipschitz_bound`, or ``inf`` where the constant of ``g`` is not known."""
        try:
            return self.lipschitz_bound()
        except ValueError:
            return float("inf")

    def inverse_lipschitz_bound(self):
        """``D^|1/2 − 1/p| / (1 − L)``; ``inf`` where ``L`` is unknown or not below 1."""
        lipschitz, ratio = self.lipschitz_bound_or_inf(), self._norm_ratio()
        if tf.is_tensor(lipschitz):
            return tf.where(lipschitz < 1.0, ratio / (1.0 - lipschitz), float("inf"))
        return ratio / (1.0 - lipschitz) if lipschitz < 1.0 else float("inf")

    def get_config(self):
        g = keras.saving.serialize_keras_object(self.g)
        if self.g._number_of_blocks > 1:
            # Keras's own mark of a shared object, which it loses below the top level.
            g["shared_object_id"] = id(self.g)
        return {
            **super().get_config(),
            "g": g,
            "log_det": keras.saving.serialize_keras_object(self.log_det),
            "solver": keras.saving.serialize_keras_object(self.solver),
            "recompute": self.recompute,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "g": keras.saving.deserialize_keras_object(config["g"])})
