"""Linear layers whose operator norm is held at a coefficient.

    K̂ = K / max(1, σ(K)/c),   σ(K) = ⟨u, A_K v⟩ ≈ ‖A_K‖

``u`` and ``v`` are saved, non-trainable vectors.  They are burned in when the
layer is built and moved on by one warm-started step of power iteration in the
kernel's Keras *constraint*, which leaves the kernel as it is: any Keras
optimizer, in stock ``fit`` or a custom loop, keeps ``σ`` right.  No power
iteration runs in ``call``.  ``σ`` is differentiable in the kernel, ``u`` and
``v`` are not.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.maps.linearization import Affine
from iresnet_tf.numerics.norms import induced_norm


class SpectralConstraint(keras.constraints.Constraint):
    """Moves a layer's singular vectors on by power iteration; returns the kernel unchanged."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, kernel):
        self.layer.update_vectors(kernel)
        return kernel


class SpectralLayer(keras.layers.Layer):
    """Base of `SpectralDense` and `SpectralConv2D`: ``x ↦ A_K̂ x + b``, ``‖A_K̂‖_{p→q} ≤ c``.

    A subclass gives the operator of a kernel, the shape of its input, and the
    certified spectral norm.

    Args:
        coeff: ``c``, the bound on the operator norm, in (0, 1); ``None`` for no bound, as in an
            ordinary ResNet, to compare with.
        p: exponent of the norm of the output, from 1 to infinity, or ``"learned"`` (it
            starts at 2).  The input's is that of the linear layer before it in a
            `Contraction`, for the first one that of the last; alone, its own.
        power_iterations: steps of power iteration a training step.
        use_bias: whether to add a bias.
        kernel_initializer, bias_initializer: as in `keras.layers.Dense`.
    """

    def __init__(
        self,
        coeff=0.9,
        p=2,
        power_iterations=1,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
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
        self.input_exponent = self.output_exponent
        self.power_iterations = int(power_iterations)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    # What a subclass gives.

    def make_operator(self, kernel):
        """The pair ``(A_K, A_Kᵀ)``."""
        raise NotImplementedError

    def make_batch_operator(self, kernel):
        """The same pair in the form that is quickest for a batch."""
        return self.make_operator(kernel)

    def vector_shape(self):
        """Shape ``[1, …]`` of the right singular vector."""
        raise NotImplementedError

    def certified_spectral_norm(self, kernel):
        """Certified ``‖A_K‖₂`` of a numpy kernel."""
        raise NotImplementedError

    # What follows from it.

    def _add_weights(self, kernel_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=kernel_shape,
            initializer=self.kernel_initializer,
            constraint=SpectralConstraint(self),
        )
        # Of the bare variable too: an optimizer in a loop of TFP's sees that alone.
        self.kernel.value._constraint = self.kernel.constraint
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(kernel_shape[-1],), initializer=self.bias_initializer
            )
        if self.p == "learned":
            self.exponent = self.add_weight(name="exponent", shape=(), initializer="zeros")
        right_shape = self.vector_shape()
        left_shape = (*right_shape[:-1], kernel_shape[-1])
        self.right_vector = self._add_vector("right_vector", right_shape, self._burn_in_right)
        self.left_vector = self._add_vector("left_vector", left_shape, self._burn_in_left)

    def _add_vector(self, name, shape, initializer):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=False,
            aggregation="only_first_replica",
        )

    def _burn_in_right(self, shape, dtype=None):
        kernel = tf.convert_to_tensor(self.kernel)
        start = tf.random.stateless_normal(shape, seed=[3, 4], dtype=kernel.dtype)
        return self.norm().leading_triple(self.make_operator(kernel), start).v

    def _burn_in_left(self, shape, dtype=None):
        kernel = tf.convert_to_tensor(self.kernel)
        operator = self.make_operator(kernel)
        return self.norm().power_step(operator, tf.convert_to_tensor(self.right_vector)).u

    def update_vectors(self, kernel):
        """``power_iterations`` warm-started steps for ``kernel``."""
        operator = self.make_operator(tf.convert_to_tensor(kernel))
        v = tf.convert_to_tensor(self.right_vector)
        self._assign(induced_norm.power_steps(self.norm(), operator, v, self.power_iterations))

    def refresh(self, tolerance=1e-4):
        """Moves the singular vectors on until ``σ`` is right to ``tolerance``, relative.

        Vectors that are right already stay as they are, to the bit.
        """
        triple, is_better = self._refined(tolerance)
        if is_better:
            self._assign(triple)

    def is_stale(self, tolerance=1e-3):
        """Whether ``σ`` is too small by more than ``tolerance``, relative."""
        return self._refined(tolerance)[1]

    def _refined(self, tolerance):
        kernel = tf.convert_to_tensor(self.kernel)
        start = tf.convert_to_tensor(self.right_vector)
        triple = self.norm().leading_triple(self.make_operator(kernel), start, tolerance)
        stored = float(self._spectral_norm_of(kernel))
        return triple, float(triple.sigma) > (1.0 + tolerance) * stored

    def _assign(self, triple):
        self.right_vector.assign(triple.v)
        self.left_vector.assign(triple.u)

    def spectral_norm(self):
        """``σ`` of the raw kernel: differentiable, never above ``‖A_K‖_{p→q}``."""
        return self._spectral_norm_of(tf.convert_to_tensor(self.kernel))

    def _spectral_norm_of(self, kernel):
        return self.norm().of(self.make_operator(kernel), *self._vectors(), kernel)

    def _vectors(self):
        """``u`` and ``v``."""
        return tf.convert_to_tensor(self.left_vector), tf.convert_to_tensor(self.right_vector)

    def constrained_kernel(self):
        """``K / max(1, σ/c)``: the kernel that the layer applies."""
        kernel = tf.convert_to_tensor(self.kernel)
        if self.coeff is None:
            return kernel
        operator, (u, v) = self.make_operator(kernel), self._vectors()
        return induced_norm.constrained(self.norm(), operator, u, v, kernel, self.coeff)

    def bind(self):
        """The affine map with the weights as they are now."""
        bias = tf.convert_to_tensor(self.bias) if self.use_bias else None
        return Affine(self.make_batch_operator(self.constrained_kernel()), bias)

    def call(self, x):
        return self.bind()(x)

    def lipschitz_bound(self):
        """Certified upper bound on ``‖A_K̂‖_{p→q}`` with the weights as they are now.

        Returns:
            float, ``inf`` where none is known (``q < p``); inside a `tf.function` a
            float64 scalar tensor.

        Raises:
            ValueError: if the layer is not built yet.
        """
        if not self.built:
            raise ValueError(
                f"{self.name} has no kernel yet, so no bound. Call it on a batch or build it first."
            )
        known = self.constrained_kernel(), self.input_exponent(), self.output_exponent()
        if tf.executing_eagerly():
            return float(self._certified_norm(*map(np.asarray, known)))
        tensors = [tf.convert_to_tensor(each) for each in known]
        bound = tf.numpy_function(self._certified_norm, tensors, tf.float64, stateful=False)
        return tf.ensure_shape(bound, [])

    def _certified_norm(self, kernel, domain, codomain):
        euclidean = self.certified_spectral_norm(kernel)
        return np.float64(
            induced_norm.riesz_thorin_bound(kernel, euclidean, float(domain), float(codomain))
        )

    # The norm.

    def output_exponent(self):
        """``1/p`` of the norm of the output, as it is now; a scalar tensor where learned."""
        if self.p != "learned":
            return 1.0 / self.p
        if not self.built:
            return tf.constant(0.5, self.compute_dtype)
        return tf.sigmoid(tf.convert_to_tensor(self.exponent))

    def norm(self):
        """The operator norm that the coefficient bounds, with its exponents as they are now."""
        if self.is_euclidean():
            return induced_norm.EuclideanNorm()
        return induced_norm.InducedNorm(self.input_exponent(), self.output_exponent())

    def is_euclidean(self):
        """Whether the norm is the spectral one for good."""
        exponents = self.input_exponent(), self.output_exponent()
        return not any(tf.is_tensor(each) or each != 0.5 for each in exponents)

    def lipschitz_target(self):
        """The coefficient; ``inf`` without one."""
        return math.inf if self.coeff is None else self.coeff

    def get_config(self):
        return {
            **super().get_config(),
            "coeff": self.coeff,
            "p": self.p,
            "power_iterations": self.power_iterations,
            "use_bias": self.use_bias,
            "kernel_initializer": serialised(self.kernel_initializer),
            "bias_initializer": serialised(self.bias_initializer),
        }


def refresh(model_or_layer, tolerance=1e-4):
    """Refines the singular vectors of every spectral layer inside to ``tolerance``.

    Args:
        model_or_layer: a Keras model or layer.
        tolerance: relative accuracy of ``σ``.
    """
    for layer in spectral_layers(model_or_layer):
        layer.refresh(tolerance)


def spectral_layers(model_or_layer):
    """Every built spectral layer inside a model or layer, in order, each once."""
    found = {}

    def visit(layer):
        if id(layer) not in found:
            found[id(layer)] = layer
            for inner in layer._flatten_layers(include_self=False, recursive=False):
                visit(inner)

    visit(model_or_layer)
    return [each for each in found.values() if isinstance(each, SpectralLayer) and each.built]


def serialised(initializer):
    """Without the options left at ``None``: an older Keras may not know them."""
    config = keras.initializers.serialize(initializer)
    if not isinstance(config, dict):
        return config
    given = {name: value for name, value in config["config"].items() if value is not None}
    return {**config, "config": given}


def input_channels(input_shape, name):
    if len(input_shape) < 2 or input_shape[-1] is None:
        raise ValueError(
            f"{name} needs the number of input channels (the last axis); received shape "
            f"{tuple(input_shape)}."
        )
    return input_shape[-1]


def required(argument, value, name):
    if value is None:
        raise ValueError(f"{name} has no {argument}: give it one, or put it last in a Contraction.")
    return value
