"""Linear layers whose operator norm is held at a coefficient.

    K̂ = K / max(1, σ(K)/c),   σ(K) = ⟨u, A_K v⟩

``u`` and ``v`` are saved, non-trainable vectors.  They are burned in when the
layer is built and moved on by one warm-started step of power iteration in the
kernel's Keras *constraint*, which leaves the kernel as it is: any Keras
optimizer, in stock ``fit`` or a custom loop, keeps ``σ`` right.  No power
iteration runs in ``call``.  ``σ`` is differentiable in the kernel, ``u`` and
``v`` are not.
"""

import keras
import tensorflow as tf

from iresnet_tf.numerics import linear_operators, norm_bounds
from iresnet_tf.numerics.linearization import Affine

UNROLLED_PIXELS, UNROLLED_CHANNELS = 16, 256
"""Up to this many pixels, and pairs of channels, a convolution is one matrix product.

`benchmarks/unrolled_convolution.py`: on 4×4 as quick for 4 → 64 channels, twice for
64 → 4; with more of either a convolution is quicker.
"""


class SpectralConstraint(keras.constraints.Constraint):
    """Moves a layer's singular vectors on by power iteration; returns the kernel unchanged."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, kernel):
        self.layer.update_vectors(kernel)
        return kernel


class SpectralLayer(keras.layers.Layer):
    """Base of `SpectralDense` and `SpectralConv2D`: ``x ↦ A_K̂ x + b``, ``‖A_K̂‖₂ ≤ c``.

    A subclass gives the operator of a kernel, the shape of its input, and the
    certified norm.

    Args:
        coeff: ``c``, the bound on the operator norm, in (0, 1).
        power_iterations: steps of power iteration a training step.
        use_bias: whether to add a bias.
        kernel_initializer, bias_initializer: as in `keras.layers.Dense`.
    """

    def __init__(
        self,
        coeff=0.9,
        power_iterations=1,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0.0 < coeff < 1.0:
            raise ValueError(
                f"coeff bounds the layer's operator norm and lies between 0 and 1 (exclusive); "
                f"received {coeff!r}. At 1 or above the block would not be invertible."
            )
        if power_iterations < 1:
            raise ValueError(f"power_iterations is at least 1; received {power_iterations!r}.")
        self.coeff = float(coeff)
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

    def certified_norm(self, kernel):
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
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(kernel_shape[-1],), initializer=self.bias_initializer
            )
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
        return linear_operators.power_iteration(self.make_operator(kernel), start).v

    def _burn_in_left(self, shape, dtype=None):
        kernel = tf.convert_to_tensor(self.kernel)
        operator = self.make_operator(kernel)
        return linear_operators.power_step(operator, tf.convert_to_tensor(self.right_vector)).u

    def update_vectors(self, kernel):
        """``power_iterations`` warm-started steps for ``kernel``."""
        operator = self.make_operator(tf.convert_to_tensor(kernel))
        v = tf.convert_to_tensor(self.right_vector)
        for _ in range(self.power_iterations):
            triple = linear_operators.power_step(operator, v)
            v = triple.v
        self._assign(triple)

    def refresh(self, tolerance=1e-4):
        """Power iteration until ``σ`` is right to ``tolerance``, relative.

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
        triple = linear_operators.power_iteration(self.make_operator(kernel), start, tolerance)
        stored = float(self._spectral_norm_of(kernel))
        return triple, float(triple.sigma) > (1.0 + tolerance) * stored

    def _assign(self, triple):
        self.right_vector.assign(triple.v)
        self.left_vector.assign(triple.u)

    def spectral_norm(self):
        """``σ = ⟨u, A_K v⟩`` of the raw kernel: differentiable, never above ``‖A_K‖₂``."""
        return self._spectral_norm_of(tf.convert_to_tensor(self.kernel))

    def _spectral_norm_of(self, kernel):
        image = self.make_operator(kernel)(tf.convert_to_tensor(self.right_vector))
        return tf.reduce_sum(tf.convert_to_tensor(self.left_vector) * image)

    def constrained_kernel(self):
        """``K / max(1, σ/c)``: the kernel that the layer applies."""
        kernel = tf.convert_to_tensor(self.kernel)
        excess = tf.maximum(self._spectral_norm_of(kernel), self.coeff) / self.coeff
        return kernel * (1.0 / excess)

    def bind(self):
        """The affine map with the weights as they are now."""
        bias = tf.convert_to_tensor(self.bias) if self.use_bias else None
        return Affine(self.make_batch_operator(self.constrained_kernel()), bias)

    def call(self, x):
        return self.bind()(x)

    def lipschitz_bound(self):
        """Certified upper bound on ``‖A_K̂‖₂`` with the weights as they are now.

        Returns:
            float; inside a `tf.function` a float64 scalar tensor.

        Raises:
            ValueError: if the layer is not built yet.
        """
        if not self.built:
            raise ValueError(
                f"{self.name} has no kernel yet, so no bound. Call it on a batch or build it first."
            )
        kernel = self.constrained_kernel()
        if tf.executing_eagerly():
            return float(self.certified_norm(kernel.numpy()))
        bound = tf.numpy_function(self.certified_norm, [kernel], tf.float64, stateful=False)
        return tf.ensure_shape(bound, [])

    def enforced_lipschitz(self):
        """The coefficient."""
        return self.coeff

    def get_config(self):
        return {
            **super().get_config(),
            "coeff": self.coeff,
            "power_iterations": self.power_iterations,
            "use_bias": self.use_bias,
            "kernel_initializer": _serialised(self.kernel_initializer),
            "bias_initializer": _serialised(self.bias_initializer),
        }


@keras.saving.register_keras_serializable("iresnet_tf")
class SpectralDense(SpectralLayer):
    """``x ↦ x K̂ + b`` with ``‖K̂‖₂ ≤ coeff``.

    Args:
        units: number of output features; ``None`` only inside a `Contraction`,
            which then sets it to its own input's.
        coeff, power_iterations, use_bias, kernel_initializer, bias_initializer:
            see `SpectralLayer`.

    Shapes: ``[batch, …, in] → [batch, …, units]``.

    Raises:
        ValueError: for ``coeff`` outside (0, 1) or ``units`` below 1.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), eq. 8; Miyato et al. 2018.
    """

    def __init__(self, units=None, coeff=0.9, **kwargs):
        super().__init__(coeff=coeff, **kwargs)
        if units is not None and units < 1:
            raise ValueError(f"units is at least 1; received {units!r}.")
        self.units = units

    def build(self, input_shape):
        self.units = _required("units", self.units, self.name)
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})
        self._add_weights((_channels(input_shape, self.name), self.units))

    def set_output_channels(self, channels):
        """What a `Contraction` calls on its last layer if ``units`` is ``None``."""
        self.units = channels if self.units is None else self.units

    def make_operator(self, kernel):
        return linear_operators.Dense(kernel)

    def vector_shape(self):
        return (1, self.kernel.shape[0])

    def certified_norm(self, kernel):
        return norm_bounds.dense_norm(kernel)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("iresnet_tf")
class SpectralConv2D(SpectralLayer):
    """``x ↦ x ⋆ K̂ + b``, stride 1, zero-padded to the same size, ``‖A_K̂‖₂ ≤ coeff``.

    The norm is that of the operator on the layer's own grid, zero padding
    included, not of the flattened kernel.  A 1×1 kernel is a matrix at every
    pixel and is computed as one.

    Args:
        filters: number of output channels; ``None`` only inside a `Contraction`,
            which then sets it to its own input's.
        kernel_size: an integer or a pair.
        coeff, power_iterations, use_bias, kernel_initializer, bias_initializer:
            see `SpectralLayer`.

    Shapes: ``[batch, height, width, in] → [batch, height, width, filters]``; height
    and width must be known when the layer is built.  ``kernel`` is the raw
    weight, ``[kernel height, kernel width, in, filters]``.

    Raises:
        ValueError: for ``coeff`` outside (0, 1), ``filters`` or ``kernel_size``
            below 1, another input rank, or an unknown grid.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), eq. 8; Gouk et al. 2018.
    """

    def __init__(self, filters=None, kernel_size=3, coeff=0.9, **kwargs):
        super().__init__(coeff=coeff, **kwargs)
        if filters is not None and filters < 1:
            raise ValueError(f"filters is at least 1; received {filters!r}.")
        size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(
                f"kernel_size is a positive integer or a pair of them; received {kernel_size!r}."
            )
        self.filters = filters
        self.kernel_size = size

    def build(self, input_shape):
        if len(input_shape) != 4 or None in tuple(input_shape[1:3]):
            raise ValueError(
                f"{self.name} takes [batch, height, width, channels] with a known height and "
                f"width, because the operator's norm depends on them; received shape "
                f"{tuple(input_shape)}."
            )
        self.filters = _required("filters", self.filters, self.name)
        self.grid = tuple(input_shape[1:3])
        self.input_spec = keras.layers.InputSpec(shape=(None, *input_shape[1:]))
        self._add_weights((*self.kernel_size, _channels(input_shape, self.name), self.filters))

    def set_output_channels(self, channels):
        """What a `Contraction` calls on its last layer if ``filters`` is ``None``."""
        self.filters = channels if self.filters is None else self.filters

    def make_operator(self, kernel):
        if self.kernel_size == (1, 1):
            return linear_operators.Dense(tf.reshape(kernel, kernel.shape[2:]))
        return linear_operators.Convolution(kernel)

    def make_batch_operator(self, kernel):
        pixels = self.grid[0] * self.grid[1]
        is_small = (
            pixels <= UNROLLED_PIXELS and kernel.shape[2] * kernel.shape[3] <= UNROLLED_CHANNELS
        )
        if is_small and pixels > 1 and self.kernel_size != (1, 1):
            return linear_operators.UnrolledConvolution.from_kernel(kernel, self.grid)
        return self.make_operator(kernel)

    def vector_shape(self):
        # Every pixel of a 1×1 convolution is the same matrix.
        grid = (1, 1) if self.kernel_size == (1, 1) else self.grid
        return (1, *grid, self.kernel.shape[2])

    def certified_norm(self, kernel):
        return norm_bounds.convolution_norm(kernel, self.grid)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}


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


def _serialised(initializer):
    """Without the options left at ``None``: an older Keras may not know them."""
    config = keras.initializers.serialize(initializer)
    if not isinstance(config, dict):
        return config
    given = {name: value for name, value in config["config"].items() if value is not None}
    return {**config, "config": given}


def _channels(input_shape, name):
    if len(input_shape) < 2 or input_shape[-1] is None:
        raise ValueError(
            f"{name} needs the number of input channels (the last axis); received shape "
            f"{tuple(input_shape)}."
        )
    return input_shape[-1]


def _required(argument, value, name):
    if value is None:
        raise ValueError(f"{name} has no {argument}: give it one, or put it last in a Contraction.")
    return value
