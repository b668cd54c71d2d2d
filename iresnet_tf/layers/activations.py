"""Activations with a Lipschitz constant of at most 1, with their derivatives.

Each is a Keras layer that knows its Lipschitz constant and writes out its
linearization.
"""

import math

import keras
import tensorflow as tf

from iresnet_tf.numerics.maps import activations as maps


class LipschitzActivation(keras.layers.Layer):
    """Base: ``call`` evaluates the bound map; ``bind`` gives it to estimators and solvers."""

    lipschitz = 1.0

    contracts_every_norm = True
    """Whether ``‖J‖_p`` is at most the constant for every ``p``, not for 2 alone."""

    def bind(self):
        """The map with the weights as they are now."""
        raise NotImplementedError

    def call(self, x):
        return self.bind()(x)

    def lipschitz_bound(self):
        """``sup ‖J‖₂``, exactly known."""
        return self.lipschitz

    def lipschitz_target(self):
        """The same: nothing here is learned towards it."""
        return self.lipschitz

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("iresnet_tf")
class Activation(LipschitzActivation):
    """``φ(x)`` by name: relu, elu, softplus, sigmoid, tanh or linear.

    All have ``sup |φ'| = 1`` but sigmoid, which has 1/4.

    Args:
        function: one of the names above.

    Raises:
        ValueError: for another name.
    """

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        if function not in maps.ELEMENTWISE_LIPSCHITZ:
            raise ValueError(
                f"The activation is one of {sorted(maps.ELEMENTWISE_LIPSCHITZ)}; received "
                f"{function!r}."
            )
        self.function = function
        self.lipschitz = maps.ELEMENTWISE_LIPSCHITZ[function]

    def bind(self):
        return maps.Elementwise(self.function)

    def get_config(self):
        return {**super().get_config(), "function": self.function}


class _Swish(LipschitzActivation):
    """The learned slope ``b = softplus(β)`` that LipSwish and CLipSwish share.

    Args:
        initial_slope: ``b`` before training.  The norm constraint keeps what reaches
            a hidden unit small, where a gentle swish is all but linear: starting
            at 5 rather than 1 spares a flow hundreds of steps on a plateau.

    Raises:
        ValueError: for a slope that is not positive.
    """

    def __init__(self, initial_slope=5.0, **kwargs):
        super().__init__(**kwargs)
        if not initial_slope > 0.0:
            raise ValueError(f"initial_slope is a positive number; received {initial_slope!r}.")
        self.initial_slope = float(initial_slope)

    def build(self, input_shape):
        # softplus(β) = b, in a form that does not overflow.
        beta = self.initial_slope + math.log(-math.expm1(-self.initial_slope))
        self.beta = self.add_weight(
            name="beta", shape=(), initializer=keras.initializers.Constant(beta)
        )

    def get_config(self):
        return {**super().get_config(), "initial_slope": self.initial_slope}

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
        return maps.ScaledSwish(self._slope())


@keras.saving.register_keras_serializable("iresnet_tf")
class CLipSwish(_Swish):
    """``[x σ(b x), −x σ(−b x)] / 1.1044``: twice the channels; Lipschitz ≤ 1.

    The slopes of the two halves are ``s`` and ``s − 1``: the divisor bounds their norm.

    Source: Perugachi-Diaz et al. 2021, "Invertible DenseNets with concatenated
    LipSwish" (arXiv:2102.02694), §3.
    """

    contracts_every_norm = False

    def bind(self):
        return maps.ConcatenatedSwish(self._slope())

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], None if input_shape[-1] is None else 2 * input_shape[-1])


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
        return maps.PairSort()


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
    if identifier in maps.ELEMENTWISE_LIPSCHITZ:
        return Activation(identifier, **kwargs)
    names = sorted([*_BY_NAME, *maps.ELEMENTWISE_LIPSCHITZ])
    raise ValueError(
        f"The activation is one of {names} or an activation layer of iresnet_tf.layers; "
        f"received {identifier!r}."
    )
