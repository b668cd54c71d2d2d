"""Activations with a Lipschitz constant of at most 1, with their derivatives.

Each is a Keras layer that knows its Lipschitz constant and writes out its
linearization: an elementwise ``φ`` acts on a tangent as a product with ``φ'``.
"""

import keras
import tensorflow as tf

from iresnet_tf.numerics.linearization import Elementwise, Linearization, diagonal_product


def _elu_value_and_derivative(x):
    exponential = tf.exp(tf.minimum(x, 0.0))
    return tf.where(x > 0.0, x, exponential - 1.0), exponential


def _relu_value_and_derivative(x):
    return tf.nn.relu(x), tf.cast(x > 0.0, x.dtype)


def _softplus_value_and_derivative(x):
    return tf.math.softplus(x), tf.sigmoid(x)


def _sigmoid_value_and_derivative(x):
    value = tf.sigmoid(x)
    return value, value * (1.0 - value)


def _tanh_value_and_derivative(x):
    value = tf.tanh(x)
    return value, 1.0 - tf.square(value)


def _identity_value_and_derivative(x):
    return x, tf.ones_like(x)


# name: (φ, x ↦ (φ(x), φ'(x)), sup |φ'|)
_ELEMENTWISE = {
    "elu": (tf.nn.elu, _elu_value_and_derivative, 1.0),
    "relu": (tf.nn.relu, _relu_value_and_derivative, 1.0),
    "softplus": (tf.math.softplus, _softplus_value_and_derivative, 1.0),
    "sigmoid": (tf.sigmoid, _sigmoid_value_and_derivative, 0.25),
    "tanh": (tf.tanh, _tanh_value_and_derivative, 1.0),
    "linear": (tf.identity, _identity_value_and_derivative, 1.0),
}


class LipschitzActivation(keras.layers.Layer):
    """Base: ``call`` evaluates the bound map; ``bind`` gives it to estimators and solvers."""

    lipschitz = 1.0

    def bind(self):
        """The map with the weights as they are now."""
        raise NotImplementedError

    def call(self, x):
        return self.bind()(x)

    def lipschitz_bound(self):
        """``sup ‖J‖₂``, exactly known."""
        return self.lipschitz

    def enforced_lipschitz(self):
        """The same: nothing here is learned towards it."""
        return self.lipschitz

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("iresnet_tf")
class Activation(LipschitzActivation):
    """``φ(x)`` by name: relu, elu, softplus, sigmoid, tanh or linear.

    All have ``sup |φ'| = 1`` but sigmoid, which has 1/4.

    Args:
        name_of_function: one of the names above.

    Raises:
        ValueError: for another name.
    """

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        if function not in _ELEMENTWISE:
            raise ValueError(
                f"The activation is one of {sorted(_ELEMENTWISE)}; received {function!r}."
            )
        self.function = function
        self.lipschitz = _ELEMENTWISE[function][2]

    def bind(self):
        function, value_and_derivative, _ = _ELEMENTWISE[self.function]
        return Elementwise(function, value_and_derivative)

    def get_config(self):
        return {**super().get_config(), "function": self.function}


SWISH_SCALE = 1.1
"""``sup |d/dx x σ(x)| = 1.09984``, rounded up as in its source."""

CONCATENATED_SCALE = 1.1044
"""``sup √(s² + (1 − s)²) = 1.10436`` over slopes ``s`` of swish, rounded up."""


class _Swish(LipschitzActivation):
    """The learned slope that LipSwish and CLipSwish share."""

    def build(self, input_shape):
        # softplus(0.5) = 0.974: swish's own slope, nearly.
        self.beta = self.add_weight(
            name="beta", shape=(), initializer=keras.initializers.Constant(0.5)
        )

    def _slope(self):
        if not self.built:
            self.build(None)
        return tf.math.softplus(tf.convert_to_tensor(self.beta))


@keras.saving.register_keras_serializable("iresnet_tf")
class LipSwish(_Swish):
    """``x σ(b x) / 1.1`` with a learned slope ``b = softplus(β) > 0``; Lipschitz ≤ 1.

    The constant does not depend on the slope, because ``x σ(b x)`` only rescales
    the axis.

    Source: Chen et al. 2019 (arXiv:1906.02735), §3.2.
    """

    def bind(self):
        slope = self._slope()
        return Elementwise(
            lambda x: _swish(x, slope)[0] * (1.0 / SWISH_SCALE),
            lambda x: tuple(each * (1.0 / SWISH_SCALE) for each in _swish(x, slope)),
        )


@tf.custom_gradient
def _swish(x, slope):
    """``f = x s`` and ``∂f/∂x = s (1 + t (1 − s))``, ``t = b x``, ``s = σ(t)``.

    The gradient is written out because half the elementwise work of a training
    step is here: with ``q = s (1 − s)`` and ``e = q (2 + t (1 − 2s))``,
    ``∂f/∂b = x² q``, ``∂²f/∂x² = b e`` and ``∂²f/∂x∂b = x e``.
    """
    t = slope * x
    # σ by tanh, which TensorFlow evaluates in half the time.
    s = 0.5 + 0.5 * tf.tanh(0.5 * t)
    rest = 1.0 - s
    derivative = s * (1.0 + t * rest)

    def gradient(of_value, of_derivative):
        q = s * rest
        curved = of_derivative * (q * (2.0 + t * (rest - s)))
        to_x = of_value * derivative + slope * curved
        to_slope = tf.reduce_sum(x * (of_value * (x * q) + curved))
        return to_x, to_slope

    return (x * s, derivative), gradient


@keras.saving.register_keras_serializable("iresnet_tf")
class CLipSwish(_Swish):
    """``[x σ(b x), −x σ(−b x)] / 1.1044``: twice the channels; Lipschitz ≤ 1.

    Slopes of the two halves add up to one, so the norm of ``(s, 1 − s)`` is what
    the divisor bounds.

    Source: Perugachi-Diaz et al. 2021, "Invertible DenseNets with concatenated
    LipSwish" (arXiv:2102.02694), §3.
    """

    def bind(self):
        return _ConcatenatedSwish(self._slope())

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], None if input_shape[-1] is None else 2 * input_shape[-1])


class _ConcatenatedSwish:
    """``f(x) = x σ(b x)`` beside ``f(x) − x``, which is ``−x σ(−b x)``."""

    def __init__(self, slope):
        self.slope = slope

    def __call__(self, x):
        return self.linearize(x).value

    def linearize(self, x):
        value, derivative = _swish(x, self.slope)
        scale = 1.0 / CONCATENATED_SCALE
        first, second = scale * derivative, scale * (derivative - 1.0)

        def jvp(v):
            return tf.concat([diagonal_product(first, v), diagonal_product(second, v)], -1)

        def vjp(w):
            upper, lower = tf.split(w, 2, axis=-1)
            return diagonal_product(first, upper) + diagonal_product(second, lower)

        return Linearization(scale * tf.concat([value, value - x], -1), jvp, vjp)


@keras.saving.register_keras_serializable("iresnet_tf")
class MaxMin(LipschitzActivation):
    """``(max(a, b), min(a, b))`` on pairs of channels; its Jacobian is a permutation.

    Channel ``i`` of the first half is paired with channel ``i`` of the second.
    Gradient norms are kept exactly.

    Raises:
        ValueError: for an odd number of channels.

    Source: Anil et al. 2019 (arXiv:1811.05381), GroupSort with groups of two.
    """

    def build(self, input_shape):
        if input_shape[-1] is None or input_shape[-1] % 2:
            raise ValueError(
                f"MaxMin sorts pairs of channels and needs an even number of them; received "
                f"shape {tuple(input_shape)}."
            )

    def bind(self):
        return _PairSort()


class _PairSort:
    def __call__(self, x):
        a, b = tf.split(x, 2, axis=-1)
        return tf.concat([tf.maximum(a, b), tf.minimum(a, b)], -1)

    def linearize(self, x):
        a, b = tf.split(x, 2, axis=-1)
        ordered = a >= b

        def permute(v):
            # The permutation of a pair is its own transpose.
            first, second = tf.split(v, 2, axis=-1)
            return tf.concat(
                [tf.where(ordered, first, second), tf.where(ordered, second, first)], -1
            )

        return Linearization(self(x), permute, permute)


_BY_NAME = {"lipswish": LipSwish, "clipswish": CLipSwish, "maxmin": MaxMin}


def get(identifier, **kwargs):
    """A new activation layer from its name, or a copy of the one given.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(identifier, LipschitzActivation):
        return identifier.from_config({**identifier.get_config(), "name": None, **kwargs})
    if identifier in _BY_NAME:
        return _BY_NAME[identifier](**kwargs)
    if identifier in _ELEMENTWISE:
        return Activation(identifier, **kwargs)
    raise ValueError(
        f"The activation is one of {sorted([*_BY_NAME, *_ELEMENTWISE])} or an activation layer "
        f"of iresnet_tf.layers; received {identifier!r}."
    )
