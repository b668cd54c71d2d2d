"""A contraction: consecutive layers whose Lipschitz constants multiply to less than one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.layers import branches
from iresnet_tf.layers.conditioning import Conditioning, with_conditioner
from iresnet_tf.layers.contractive import ContractiveLayer, UnknownLipschitzError
from iresnet_tf.layers.exponents import Exponent
from iresnet_tf.layers.row import Row, deserialized
from iresnet_tf.numerics.maps import Map
from iresnet_tf.numerics.precision import as_float64


@keras.saving.register_keras_serializable("iresnet_tf")
class Contraction(ContractiveLayer):
    """``g = l_K ∘ … ∘ l_1`` with ``Lip(g) ≤ Π Lip(l_k)``.

    Contractive layers know their constants and have explicit linearizations.  Any other Keras
    layer is linearized by automatic differentiation, and the caller gives the bound.

    Args:
        layers: Keras layers, applied in order.
        lipschitz: a bound on ``Lip(g)`` that the caller vouches for.  It counts only where the
            layers' own bounds are unknown or not below 1, and certificates name it: see
            `is_vouched`.
        context_shape: shape of one context ``c`` of a conditional ``g(x; c)``, which enters by
            `ContextBias` layers.  The constant is that in ``x``, for every ``c``.
        conditioner: any Keras layer or model ``[batch, …context_shape] → [batch, features]``,
            which computes the features for these layers; by default they receive the context, a
            vector.  Several contractions may share one.  It is in training mode only inside a Keras
            call in training mode: a block's `forward_and_log_det` and `inverse` use inference mode.

    Shapes: the output has the shape of the input.

    Raises:
        ValueError: if there is no layer, ``lipschitz`` is not positive, or ``context_shape`` is
            given without a layer that takes a context, or vice versa; when it is built, if the
            shapes differ or a layer bounds a norm in which its neighbour does not contract.
    """

    takes_width = False

    def __init__(
        self,
        layers: Sequence[keras.layers.Layer],
        lipschitz: float | None = None,
        context_shape: int | Sequence[int] | None = None,
        conditioner: keras.layers.Layer | None = None,
        **kwargs,
    ) -> None:
        if not layers:
            raise ValueError("A contraction needs at least one layer; received none.")
        kwargs.setdefault("dtype", layers[0].dtype_policy.name)
        super().__init__(**kwargs)
        if lipschitz is not None and not lipschitz > 0.0:
            raise ValueError(f"lipschitz is a positive number; received {lipschitz!r}.")
        self.parts = list(layers)
        self._row = Row(self.parts)
        self.lipschitz = lipschitz
        self.conditioner, self.context_shape, self._conditioning = conditioner, None, None
        if context_shape is not None:
            self._conditioning = Conditioning(context_shape, conditioner)
            self.context_shape = self._conditioning.shape
        if self._row.is_conditional != self.is_conditional or (
            conditioner is not None and not self.is_conditional
        ):
            holds = "such layers" if self._row.is_conditional else "no such layers"
            raise ValueError(
                "A conditional contraction has both ContextBias layers and a context_shape; "
                f"received context_shape={context_shape!r}, conditioner={conditioner!r} and "
                f"{holds}. Contraction.mlp and .conv add the layers if context_shape is given."
            )

    @classmethod
    def mlp(
        cls,
        units: int | Sequence[int] = (64, 64),
        activation: branches.Activation = "lipswish",
        coeff: float | None = 0.9,
        preactivation: bool = False,
        power_iterations: int = 1,
        p: float | str | Sequence = 2,
        **kwargs: Any,
    ) -> Self:
        """Returns a contraction of dense layers, whose last one has the width of the input.

        Args:
            units: widths of the hidden layers; a number means one layer.
            activation: name or layer; a new one follows each hidden layer.
            coeff: bound on each layer's norm, so ``Lip(g) ≤ coeff^(len(units) + 1)``.
            preactivation: whether an activation comes first.
            power_iterations: number of steps of power iteration in a training step.
            p: exponent of the norm of each layer's output, one for all or one for each (the
                last one is also that of the block's input), or ``"learned"``.
            **kwargs: of the contraction.  ``dtype`` also sets that of the layers, and with a
                ``context_shape`` a `ContextBias` follows each linear layer.
        """
        branch = _branch(activation, coeff, power_iterations, kwargs)
        return cls(branch.dense(units, preactivation, p), **kwargs)

    @classmethod
    def conv(
        cls,
        filters: int | Sequence[int] = 64,
        kernel_sizes: Sequence[int | tuple[int, int]] = (3, 1, 3),
        activation: branches.Activation = "elu",
        coeff: float | None = 0.9,
        preactivation: bool = False,
        power_iterations: int = 1,
        p: float | str | Sequence = 2,
        **kwargs: Any,
    ) -> Self:
        """Returns a contraction of convolutions, whose last one has the channels of the input.

        Args:
            filters: hidden channels, one number or one for each hidden layer.
            kernel_sizes: of every convolution, the last one included.
            coeff: bound on each layer's norm, so ``Lip(g) ≤ coeff^len(kernel_sizes)``.
            activation, preactivation, power_iterations, p, **kwargs: see `mlp`.
        """
        branch = _branch(activation, coeff, power_iterations, kwargs)
        return cls(branch.convolutions(filters, kernel_sizes, preactivation, p), **kwargs)

    @classmethod
    def dense_net(
        cls,
        growth: int = 64,
        depth: int = 3,
        kernel_size: int | None = 3,
        activation: branches.Activation = "clipswish",
        coeff: float | None = 0.9,
        power_iterations: int = 1,
        **kwargs: Any,
    ) -> Self:
        """Returns a contraction of dense concatenations and a last linear layer.

        Args:
            growth: output channels of the linear layer of each concatenation.
            depth: number of concatenations.
            kernel_size: of the convolutions in the concatenations, after which comes a 1×1 one;
                ``None`` for dense layers on vectors.
            activation: name or layer; a new one follows the linear layer of each concatenation.
            coeff: bound on each linear layer's norm.  The constants of the concatenations are at
                most 1, so ``Lip(g) ≤ coeff``.
            power_iterations, **kwargs: see `mlp`.

        Source: Perugachi-Diaz et al. 2021 (arXiv:2102.02694), §3.
        """
        branch = _branch(activation, coeff, power_iterations, kwargs)
        return cls(branch.concatenations(growth, depth, kernel_size), **kwargs)

    @property
    def is_conditional(self) -> bool:
        """Whether ``g`` depends on a context."""
        return self.context_shape is not None

    @property
    def event_ndims(self) -> int | None:
        """Rank of one sample: 3 if the last linear layer is a convolution, else 1."""
        return self._row.event_ndims or 1

    @property
    def output_exponent(self) -> Exponent | None:
        """The exponent of the norm of the output, set by the last layer that has one."""
        return self._row.output_exponent

    def measure_input(self, exponent: Exponent) -> Exponent:
        return self._row.measure_input(exponent)

    def build(self, x_shape: tuple, context_shape: tuple | None = None) -> None:
        self._row.set_width(x_shape[-1])
        features = self._conditioning.build(self.name) if self._conditioning else context_shape
        shape = self._row.build(x_shape, features)
        if shape[1:] != tuple(x_shape[1:]):
            raise ValueError(
                f"{self.name} must return the shape that it is given, because its value is added "
                f"to its input; it maps {tuple(x_shape)} to {shape}. Change the width of the last "
                "layer."
            )
        self.input_spec = keras.layers.InputSpec(shape=(None, *shape[1:]))

    def bind(self, context: tf.Tensor | None = None) -> Map:
        """Returns the map with the current weights; its kernels are constrained once.

        Args:
            context: ``[batch, …context_shape]`` or ``[1, …context_shape]`` for a conditional ``g``.
        """
        if self._conditioning is not None:
            context = self._conditioning(context)
        return self._row.bind(context)

    def lipschitz_bound(self) -> float | tf.Tensor:
        """Returns the certified bound for the current weights, or `lipschitz` in its place.

        A given ``lipschitz`` replaces a bound that is unknown, or a larger one that is not below 1.

        Returns:
            float; inside a `tf.function` a float64 scalar tensor.

        Raises:
            UnknownLipschitzError: for layers whose constant is not known.
            ValueError: if the contraction is not built yet.
        """
        return self._or_vouched(self._row.lipschitz_bound)

    @property
    def is_vouched(self) -> bool:
        """Whether `lipschitz_bound` rests on a ``lipschitz`` that somebody vouched for."""
        if self.lipschitz is None or self._row.is_vouched:
            return self._row.is_vouched
        try:
            return bool(self._row.lipschitz_bound() > self.lipschitz_bound())
        except UnknownLipschitzError:
            return True

    def _or_vouched(self, compute: Callable[[], float | tf.Tensor]) -> float | tf.Tensor:
        if self.lipschitz is None:
            return compute()
        try:
            bound = compute()
        except UnknownLipschitzError:
            return self.lipschitz
        if tf.is_tensor(bound):
            smaller = tf.minimum(bound, as_float64(self.lipschitz))
            return tf.where(bound >= 1.0, smaller, bound)
        return min(bound, self.lipschitz) if bound >= 1.0 else bound

    def rounding_growth(self) -> float | tf.Tensor:
        return self._row.rounding_growth()

    def lipschitz_target(self) -> float:
        """Returns ``Π coeff``, the constant that the constraints keep ``Lip(g)`` below.

        A given ``lipschitz`` replaces it as it replaces `lipschitz_bound`.
        """
        return float(self._or_vouched(self._row.lipschitz_target))

    def get_config(self) -> dict[str, Any]:
        layers = keras.saving.serialize_keras_object(self.parts)
        config = {**super().get_config(), "layers": layers, "lipschitz": self.lipschitz}
        return {**config, **self._conditioning.get_config()} if self._conditioning else config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        layers = deserialized(config["layers"])
        return cls(**{**with_conditioner(config), "layers": layers})


def _branch(activation, coeff, power_iterations, kwargs):
    conditional = kwargs.get("context_shape") is not None
    options = {"coeff": coeff, "power_iterations": power_iterations}
    return branches.Branch(activation, conditional, kwargs.get("dtype"), options)
