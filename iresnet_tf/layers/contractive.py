"""The contract of the layers of a contraction."""

from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.layers.exponents import EUCLIDEAN, Exponent
from iresnet_tf.numerics.maps import Automatic, Map
from iresnet_tf.numerics.precision import as_float64


class UnknownLipschitzError(ValueError):
    """Raised by a bound that depends on an unknown Lipschitz constant."""


class ContractiveLayer(keras.layers.Layer):
    """A layer with a known Lipschitz constant, ``‖l(x) − l(y)‖_q ≤ L ‖x − y‖_p``.

    A subclass defines `bind` and `lipschitz_bound`.  The defaults of the other members are right
    for a layer that has a bound in the 2-norm, keeps the shape of a sample and depends on no
    context.  The subclass is registered with ``keras.saving.register_keras_serializable``, and
    has a ``get_config`` if its constructor takes arguments.
    """

    is_conditional: bool = False
    """Whether the map depends on a context, an argument of `bind`."""

    event_ndims: int | None = None
    """Rank of the samples; ``None`` for a layer that takes any."""

    takes_width: bool = False
    """Whether a contraction may set the number of output channels: see `set_width`."""

    output_exponent: Exponent | None = EUCLIDEAN
    """The exponent ``q`` of the output's norm, by default 2, for a bound in the 2-norm only.

    ``None`` means that the bound holds in every p-norm, with ``q = p``.
    """

    input_exponent: Exponent | None = None
    """The exponent ``p`` that `measure_input` has set, for a layer whose bound depends on it."""

    context_shape: tuple[int, ...] | None = None
    """Shape of one context, of a conditional layer that may be the whole branch of a block."""

    conditioner: keras.layers.Layer | None = None
    """The network that computes the features of a context, if the layer has one."""

    is_vouched: bool = False
    """Whether `lipschitz_bound` rests on a constant that somebody vouched for."""

    def bind(self, context: tf.Tensor | None = None) -> Map:
        """Returns the map that the layer applies with its current weights.

        Args:
            context: ``[batch, features]``, or ``[1, features]`` for all samples alike, of a
                conditional layer.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement bind.")

    def lipschitz_bound(self) -> float | tf.Tensor:
        """Returns a certified upper bound on ``L`` for the current weights.

        Returns:
            float; inside a `tf.function` it may be a float64 scalar tensor.

        Raises:
            UnknownLipschitzError: if no bound is known.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement lipschitz_bound.")

    def lipschitz_target(self) -> float:
        """Returns the constant that training keeps ``L`` below; ``inf`` if there is none.

        The default is the bound, for a layer whose constant does not depend on its weights.
        """
        bound = self.lipschitz_bound()
        if tf.is_tensor(bound):
            raise NotImplementedError(
                f"{type(self).__name__} must implement lipschitz_target, because its bound depends "
                "on its weights."
            )
        return bound

    def rounding_growth(self) -> float | tf.Tensor:
        """Returns a bound on the factor by which the layer enlarges an error of its input.

        It is at least 1, so that a product over layers also bounds errors that arise inside the
        chain.
        """
        bound = self.lipschitz_bound()
        return tf.maximum(as_float64(1.0), bound) if tf.is_tensor(bound) else max(1.0, bound)

    def measure_input(self, exponent: Exponent) -> Exponent:
        """Sets the exponent ``p`` of the input's norm; returns the exponent of the output's.

        A contraction calls it for its layers in order, before it builds them.

        Raises:
            ValueError: if no bound is known for that norm.
        """
        if self.output_exponent is None:
            return exponent
        if exponent != EUCLIDEAN:
            raise ValueError(
                f"{self.name} is known to contract in the 2-norm alone, and the norm of its input "
                f"has the exponent {exponent}. Give the linear layers next to it p=2."
            )
        return self.output_exponent

    def set_width(self, channels: int) -> None:
        """Sets the number of output channels of a layer that was made without one.

        A contraction calls it for its last layer with `takes_width`.
        """

    def call(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Applies the map of `bind`."""
        return (self.bind(context) if self.is_conditional else self.bind())(x)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


class ForeignLayer:
    """Any Keras layer inside a contraction: linearized automatically, with an unknown bound."""

    is_conditional = False
    event_ndims = None
    takes_width = False
    output_exponent = EUCLIDEAN
    input_exponent = None
    context_shape = None
    conditioner = None
    is_vouched = False

    def __init__(self, layer: keras.layers.Layer) -> None:
        self.layer = layer
        self.name = layer.name

    def bind(self, context: tf.Tensor | None = None) -> Map:
        return Automatic(self.layer)

    def lipschitz_bound(self) -> float:
        raise UnknownLipschitzError(
            f"The Lipschitz constant of {self.name} is not known. Give a bound that you can vouch "
            "for: Contraction([…], lipschitz=…)."
        )

    def lipschitz_target(self) -> float:
        return self.lipschitz_bound()

    def rounding_growth(self) -> float:
        """Returns 1: whoever vouches for the layer vouches for that."""
        return 1.0

    measure_input: Any = ContractiveLayer.measure_input


def as_contractive(layer: keras.layers.Layer) -> ContractiveLayer:
    """Returns the layer itself if it is a `ContractiveLayer`, else a `ForeignLayer` around it."""
    if isinstance(layer, ContractiveLayer):
        return layer
    return ForeignLayer(layer)  # type: ignore[return-value]
