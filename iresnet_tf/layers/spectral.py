"""Linear layers whose operator norm is at most a coefficient.

    K̂ = K / max(1, σ(K)/c),   σ(K) = ⟨u, A_K v⟩ ≈ ‖A_K‖

``u`` and ``v`` are saved, non-trainable vectors, computed when the layer is built.  The kernel's
Keras *constraint* updates them by one warm-started step of power iteration and does not change the
kernel.  So ``σ`` stays accurate with any Keras optimizer, in ``fit`` or a custom loop.  No power
iteration runs in ``call``.  ``σ`` is differentiable in the kernel, not in ``u`` and ``v``.
"""

import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.internals import constrain_bare_variable, is_traced_for_xla, stored_value
from iresnet_tf.layers.contractive import ContractiveLayer, UnknownLipschitzError
from iresnet_tf.layers.economy import STEP
from iresnet_tf.layers.exponents import EUCLIDEAN, Exponent
from iresnet_tf.numerics.execution import tensor_float_32
from iresnet_tf.numerics.maps import Map, Operator, operator_in_bfloat16
from iresnet_tf.numerics.norms import induced_norm
from iresnet_tf.numerics.norms.constrained import ConstrainedAffine
from iresnet_tf.numerics.precision import as_float64


class SpectralConstraint(keras.constraints.Constraint):
    """Updates a layer's singular vectors by power iteration and returns the kernel unchanged."""

    def __init__(self, layer: "SpectralLayer") -> None:
        self.layer = layer

    def __call__(self, kernel: tf.Tensor) -> tf.Tensor:
        self.layer.update_vectors(kernel)
        return kernel


class SpectralLayer(ContractiveLayer):
    """Base of the linear layers, ``x ↦ A_K̂ x + b`` with ``‖A_K̂‖_{p→q} ≤ c``.

    A subclass defines `make_operator`, `vector_shape` and `certified_spectral_norm`, and calls
    `add_weights` in its ``build``.

    Args:
        coeff: ``c``, the bound on the operator norm, in (0, 1); ``None`` for no bound, for
            comparison with an ordinary ResNet.
        p: exponent of the norm of the output, from 1 to infinity, or ``"learned"`` (it starts
            at 2).  In a `Contraction` the norm of the input is that of the previous linear
            layer's output, or the last one's for the first layer; else it has the exponent p.
        power_iterations: number of steps of power iteration in a training step.
        use_bias: whether to add a bias.
        kernel_initializer, bias_initializer: see `keras.layers.Dense`.

    Raises:
        ValueError: for a coefficient outside (0, 1), an exponent below 1, or fewer than one step.
    """

    takes_width = True
    output_exponent: Exponent
    input_exponent: Exponent

    def __init__(
        self,
        coeff: float | None = 0.9,
        p: float | str = 2,
        power_iterations: int = 1,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if coeff is not None and not 0.0 < coeff < 1.0:
            raise ValueError(
                f"coeff bounds the layer's operator norm and lies between 0 and 1 (exclusive); "
                f"received {coeff!r}. At 1 or above the block would not be invertible."
            )
        if p != "learned" and not (isinstance(p, (int, float)) and p >= 1.0):
            raise ValueError(f"p is a number from 1 to infinity, or 'learned'; received {p!r}.")
        if power_iterations < 1:
            raise ValueError(f"power_iterations is at least 1; received {power_iterations!r}.")
        self.coeff = None if coeff is None else float(coeff)
        self.p = p
        self.output_exponent = Exponent(self._learned_reciprocal if isinstance(p, str) else 1.0 / p)
        self.input_exponent = self.output_exponent
        self.power_iterations = int(power_iterations)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def make_operator(self, kernel: tf.Tensor) -> Operator:
        """Returns the operator ``A_K`` of a kernel."""
        raise NotImplementedError(f"{type(self).__name__} must implement make_operator.")

    def unrolled_grid(self) -> tuple[int, int] | None:
        """Returns the grid on which one matrix is quicker than a convolution, else ``None``."""
        return None

    def vector_shape(self) -> tuple[int, ...]:
        """Returns the shape ``(1, …)`` of the right singular vector."""
        raise NotImplementedError(f"{type(self).__name__} must implement vector_shape.")

    def vector_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes ``(1, …, in)`` and ``(1, …, out)`` of the singular vectors."""
        right = self.vector_shape()
        return right, (*right[:-1], self.kernel.shape[-1])

    def certified_spectral_norm(self, kernel: np.ndarray) -> float:
        """Returns a certified upper bound on ``‖A_K‖₂``."""
        raise NotImplementedError(f"{type(self).__name__} must implement certified_spectral_norm.")

    def add_weights(self, kernel_shape: tuple[int, ...]) -> None:
        """Adds the kernel ``[…, in, out]``, the bias, the exponent and the singular vectors."""
        start, constraint = self.kernel_initializer, SpectralConstraint(self)
        self.kernel = self.add_weight(
            name="kernel", shape=kernel_shape, initializer=start, constraint=constraint
        )
        constrain_bare_variable(self.kernel)
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(kernel_shape[-1],), initializer=self.bias_initializer
            )
        if self.p == "learned":
            self.exponent = self.add_weight(name="exponent", shape=(), initializer="zeros")
        right_shape, left_shape = self.vector_shapes()
        add = functools.partial(self.add_weight, trainable=False, aggregation="only_first_replica")
        start = self._initial_right
        self.right_vector = add(name="right_vector", shape=right_shape, initializer=start)
        start = self._initial_left
        self.left_vector = add(name="left_vector", shape=left_shape, initializer=start)

    def _initial_right(self, shape, dtype=None):
        kernel = stored_value(self.kernel)
        start = tf.random.stateless_normal(shape, seed=[3, 4], dtype=kernel.dtype)
        return self.norm().leading_triple(self.make_operator(kernel), start).v

    def _initial_left(self, shape, dtype=None):
        kernel = stored_value(self.kernel)
        operator = self.make_operator(kernel)
        return self.norm().power_step(operator, stored_value(self.right_vector)).u

    def measure_input(self, exponent: Exponent) -> Exponent:
        if exponent != self.input_exponent:
            self.input_exponent = exponent
            if self.built:
                # The vectors belong to the former norm.
                with tf.init_scope():
                    self.right_vector.assign(self._initial_right(self.right_vector.shape))
                    self.left_vector.assign(self._initial_left(self.left_vector.shape))
        return self.output_exponent

    def update_vectors(self, kernel: tf.Tensor) -> None:
        """Takes ``power_iterations`` warm-started steps of power iteration for the kernel.

        In a training step with ``product_dtype="bfloat16"`` their products are in bfloat16.  An
        error of the vectors changes ``σ`` to second order only, and ``σ`` itself is in float32.
        """
        operator = self.make_operator(tf.convert_to_tensor(kernel))
        if STEP.get().economy.product_dtype is not None:
            operator = operator_in_bfloat16(operator)
        v, steps = stored_value(self.right_vector), self.power_iterations
        self._assign(induced_norm.power_steps(self.norm(), operator, v, steps))

    def refresh(self, tolerance: float = 1e-4) -> None:
        """Refines the singular vectors until the relative error of ``σ`` is at most ``tolerance``.

        Vectors that are accurate already do not change by a bit.
        """
        triple, is_better = self._refined(tolerance)
        if is_better:
            self._assign(triple)

    def is_stale(self, tolerance: float = 1e-3) -> bool:
        """Returns whether ``σ`` is too small by more than the relative ``tolerance``."""
        return self._refined(tolerance)[1]

    def _refined(self, tolerance):
        kernel = stored_value(self.kernel)
        tensor_float_32.require_off("The norm of a layer", kernel.dtype)
        start = stored_value(self.right_vector)
        triple = self.norm().leading_triple(self.make_operator(kernel), start, tolerance)
        stored = float(self.spectral_norm())
        return triple, float(triple.sigma) > (1.0 + tolerance) * stored

    def _assign(self, triple):
        self.right_vector.assign(triple.v)
        self.left_vector.assign(triple.u)

    def spectral_norm(self) -> tf.Tensor:
        """Returns ``σ`` of the raw kernel: differentiable, never above ``‖A_K‖_{p→q}``."""
        return self.norm().of(self.make_operator(stored_value(self.kernel)), *self._vectors())

    def _vectors(self):
        """Returns ``u`` and ``v``."""
        return stored_value(self.left_vector), stored_value(self.right_vector)

    def constrained_kernel(self) -> tf.Tensor:
        """Returns ``K / max(1, σ/c)``, the kernel that the layer applies, in its compute dtype."""
        kernel = stored_value(self.kernel)
        if self.coeff is not None:
            operator, (u, v) = self.make_operator(kernel), self._vectors()
            kernel = induced_norm.constrained(self.norm(), operator, u, v, kernel, self.coeff)
        return tf.cast(kernel, self.compute_dtype)

    def bind(self, context: tf.Tensor | None = None) -> Map:
        del context
        operator, (u, v) = self.make_operator(stored_value(self.kernel)), self._vectors()
        bias = stored_value(self.bias) if self.use_bias else None
        options = self.norm(), self.coeff, bias, self.compute_dtype, self.unrolled_grid()
        return ConstrainedAffine(operator, u, v, *options)

    def lipschitz_bound(self) -> float | tf.Tensor:
        """Returns a certified upper bound on ``‖A_K̂‖_{p→q}`` for the current weights.

        Returns:
            float, ``inf`` if none is known (``q < p``); inside a `tf.function` a float64 scalar
            tensor.

        Raises:
            ValueError: if the layer is not built yet.
            UnknownLipschitzError: in a function that XLA compiles.
            TensorFloat32Error: if a GPU would multiply ``float32`` numbers in TF32.
        """
        tensor_float_32.require_off("A certificate", self.compute_dtype)
        if not self.built:
            raise ValueError(
                f"{self.name} has no kernel yet, so no bound. Call it on a batch or build it first."
            )
        if is_traced_for_xla():
            raise UnknownLipschitzError(
                f"XLA cannot compute the certified norm of {self.name}. Call lipschitz_bound "
                "outside the function that is compiled with jit_compile=True."
            )
        known = [as_float64(each) for each in (self.constrained_kernel(), *self._exponents())]
        if tf.executing_eagerly():
            return float(self._certified_norm(*map(np.asarray, known)))
        bound = tf.numpy_function(self._certified_norm, known, tf.float64, stateful=False)
        return tf.ensure_shape(bound, [])

    def _certified_norm(self, kernel, domain, codomain):
        euclidean = self.certified_spectral_norm(kernel)
        return np.float64(
            induced_norm.riesz_thorin_bound(kernel, euclidean, float(domain), float(codomain))
        )

    def _exponents(self):
        """Returns the reciprocals of the exponents of the input's and the output's norm."""
        return self.input_exponent.reciprocal(), self.output_exponent.reciprocal()

    def _learned_reciprocal(self):
        if not self.built:
            return tf.constant(0.5, self.compute_dtype)
        return tf.sigmoid(stored_value(self.exponent))

    def norm(self) -> induced_norm.EuclideanNorm | induced_norm.InducedNorm:
        """Returns the operator norm that the coefficient bounds, with its current exponents."""
        if self.is_euclidean():
            return induced_norm.EuclideanNorm()
        return induced_norm.InducedNorm(*self._exponents())

    def is_euclidean(self) -> bool:
        """Returns whether the norm is always the spectral norm."""
        return self.input_exponent == self.output_exponent == EUCLIDEAN

    def lipschitz_target(self) -> float:
        return math.inf if self.coeff is None else self.coeff

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "coeff": self.coeff,
            "p": self.p,
            "power_iterations": self.power_iterations,
            "use_bias": self.use_bias,
            "kernel_initializer": serialised(self.kernel_initializer),
            "bias_initializer": serialised(self.bias_initializer),
        }


def serialised(initializer: Any) -> Any:
    """Returns an initializer's configuration without ``None``, which older Keras may not know."""
    config = keras.initializers.serialize(initializer)
    if not isinstance(config, dict):
        return config
    given = {name: value for name, value in config["config"].items() if value is not None}
    return {**config, "config": given}


def input_channels(input_shape: tuple, name: str) -> int:
    """Returns the number of input channels; raises `ValueError` if it is not known."""
    if len(input_shape) < 2 or input_shape[-1] is None:
        raise ValueError(
            f"{name} needs the number of input channels (the last axis); received shape "
            f"{tuple(input_shape)}."
        )
    return input_shape[-1]


def required(argument: str, value: Any, name: str) -> Any:
    """Returns the width of a layer; raises `ValueError` if it is ``None`` and nothing sets it."""
    if value is None:
        raise ValueError(
            f"{name} needs {argument}: set it, or make the layer the last one of a Contraction."
        )
    return value
