"""Activations with a Lipschitz constant of at most 1."""

import math
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers.contractive import ContractiveLayer
from iresnet_tf.layers.exponents import EUCLIDEAN, Exponent
from iresnet_tf.numerics.maps import Map
from iresnet_tf.numerics.maps import activations as maps
from iresnet_tf.numerics.options import require_positive
from iresnet_tf.numerics.registered import registered


class LipschitzActivation(ContractiveLayer):
    """Base of the activations: a contractive layer with a constant that is exactly known.

    A subclass defines `bind`, and `lipschitz` if the constant is not 1.
    """

    lipschitz: float = 1.0
    """``sup ‖J‖``."""

    output_exponent: Exponent | None = None

    def lipschitz_bound(self) -> float | tf.Tensor:
        return self.lipschitz


@keras.saving.register_keras_serializable("iresnet_tf")
class Activation(LipschitzActivation):
    """``φ(x)`` with ``sup |φ'|`` 1/4 for the sigmoid and 1 for the other functions.

    Args:
        function: ``"relu"``, ``"elu"``, ``"softplus"``, ``"sigmoid"``, ``"tanh"``, ``"linear"``.

    Raises:
        ValueError: for another name.
    """

    def __init__(self, function: str, **kwargs) -> None:
        super().__init__(**kwargs)
        if function not in maps.ELEMENTWISE_LIPSCHITZ:
            raise ValueError(
                f"The activation is one of {sorted(maps.ELEMENTWISE_LIPSCHITZ)}; received "
                f"{function!r}."
            )
        self.function = function
        self.lipschitz = maps.ELEMENTWISE_LIPSCHITZ[function]

    def bind(self, context: tf.Tensor | None = None) -> Map:
        return maps.Elementwise(self.function)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": self.function}


class _Swish(LipschitzActivation):
    """Base of LipSwish and CLipSwish: the learned slope ``b = softplus(β)``.

    Args:
        initial_slope: ``b`` before training, positive.  The norm constraint keeps the inputs of
            hidden units small, and there a swish of slope 1 is almost linear.  A slope of 5 saves
            a flow hundreds of steps on a plateau.

    Raises:
        ValueError: for a slope that is not positive.
    """

    def __init__(self, initial_slope: float = 5.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.initial_slope = require_positive("initial_slope", initial_slope, "a positive number")

    def build(self, input_shape: tuple) -> None:
        # The inverse of softplus, in a form that does not overflow.
        beta = self.initial_slope + math.log(-math.expm1(-self.initial_slope))
        start = keras.initializers.Constant(beta)
        self.beta = self.add_weight(name="beta", shape=(), initializer=start)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_slope": self.initial_slope}

    def _slope(self):
        if not self.built:
            self.build(())
        return tf.math.softplus(tf.convert_to_tensor(self.beta))


@keras.saving.register_keras_serializable("iresnet_tf")
class LipSwish(_Swish):
    """``x σ(b x) / 1.1`` with a learned slope ``b = softplus(β) > 0``; Lipschitz ≤ 1.

    The constant does not depend on the slope, which only rescales the axes.

    Source: Chen et al. 2019 (arXiv:1906.02735), §3.2.
    """

    def bind(self, context: tf.Tensor | None = None) -> Map:
        return maps.ScaledSwish(self._slope())


@keras.saving.register_keras_serializable("iresnet_tf")
class CLipSwish(_Swish):
    """``[x σ(b x), −x σ(−b x)] / 1.1044``: twice the channels; Lipschitz ≤ 1.

    The derivatives of the two halves are ``s`` and ``s − 1``; the divisor bounds their norm.

    Source: Perugachi-Diaz et al. 2021, "Invertible DenseNets with concatenated
    LipSwish" (arXiv:2102.02694), §3.
    """

    output_exponent = EUCLIDEAN

    def bind(self, context: tf.Tensor | None = None) -> Map:
        return maps.ConcatenatedSwish(self._slope())

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], None if input_shape[-1] is None else 2 * input_shape[-1])


@keras.saving.register_keras_serializable("iresnet_tf")
class MaxMin(LipschitzActivation):
    """``(max(a, b), min(a, b))`` on pairs of channels; its Jacobian is a permutation.

    Channel ``i`` of the first half is paired with channel ``i`` of the second half.  The norm of
    a gradient does not change.

    Raises:
        ValueError: for an odd number of channels.

    Source: Anil et al. 2019 (arXiv:1811.05381), GroupSort with groups of two.
    """

    def build(self, input_shape: tuple) -> None:
        if input_shape[-1] is None or input_shape[-1] % 2:
            raise ValueError(
                f"MaxMin sorts pairs of channels and needs an even number of them; received "
                f"shape {tuple(input_shape)}."
            )

    def bind(self, context: tf.Tensor | None = None) -> Map:
        return maps.PairSort()


_BY_NAME = {"lipswish": LipSwish, "clipswish": CLipSwish, "maxmin": MaxMin}


def get(identifier: str | ContractiveLayer, **kwargs) -> ContractiveLayer:
    """Returns a new activation layer, given the name of one or a contractive layer to copy.

    Args:
        identifier: a name, a layer, or the name ``"package>Class"`` of a contractive layer that is
            registered with Keras.
        **kwargs: of the new layer, for example ``dtype``.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(identifier, ContractiveLayer):
        return identifier.from_config({**identifier.get_config(), "name": None, **kwargs})
    if identifier in _BY_NAME:
        return _BY_NAME[identifier](**kwargs)
    if identifier in maps.ELEMENTWISE_LIPSCHITZ:
        return Activation(identifier, **kwargs)
    if own := registered(identifier, ContractiveLayer):
        return own(**kwargs)
    names = sorted([*_BY_NAME, *maps.ELEMENTWISE_LIPSCHITZ])
    raise ValueError(
        f"The activation is one of {names}, a contractive layer, such as LipSwish(), or the "
        f"registered name of one, 'package>Class'; received {identifier!r}."
    )
