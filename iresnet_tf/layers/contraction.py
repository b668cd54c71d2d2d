"""A contraction: layers in a row whose Lipschitz constants multiply to less than one."""

import keras

from iresnet_tf.layers import activations
from iresnet_tf.layers.binding import bind_row, build_row
from iresnet_tf.layers.context_bias import ContextBias
from iresnet_tf.layers.dense_concatenation import DenseConcatenation
from iresnet_tf.layers.spectral import SpectralLayer
from iresnet_tf.layers.spectral_conv2d import SpectralConv2D
from iresnet_tf.layers.spectral_dense import SpectralDense


@keras.saving.register_keras_serializable("iresnet_tf")
class Contraction(keras.layers.Layer):
    """``g = l_K ∘ … ∘ l_1`` with ``Lip(g) ≤ Π Lip(l_k)``.

    Layers of this package know their constants and write out their
    linearization; any other Keras layer is linearized by automatic
    differentiation and leaves the bound to the caller.

    Args:
        layers: Keras layers, applied in order.
        lipschitz: a bound on ``Lip(g)`` that the caller vouches for; needed only
            with layers whose constant is not known.
        context_shape: shape of one context ``c``, for a ``g(x; c)`` that depends on one by its
            `ContextBias` layers; the constant is that in ``x``, for every ``c``.
        conditioner: any Keras layer or model ``[batch, …context_shape] → [batch, features]``,
            whose features these layers receive; by default the context itself, a vector.
            Several contractions may share one.  It is in training mode only inside a Keras call
            that is: `forward_and_log_det` and `inverse` of a block take it in inference mode.

    Shapes: the output's equals the input's.

    Raises:
        ValueError: if there is no layer, the shapes differ, ``lipschitz`` ≤ 0, linear
            layers bound another norm than others here contract, or one of ``context_shape``
            and `ContextBias` comes without the other.
    """

    def __init__(self, layers, lipschitz=None, context_shape=None, conditioner=None, **kwargs):
        if not layers:
            raise ValueError("A contraction needs at least one layer; received none.")
        kwargs.setdefault("dtype", layers[0].dtype_policy.name)
        super().__init__(**kwargs)
        if lipschitz is not None and not lipschitz > 0.0:
            raise ValueError(f"lipschitz is a positive number; received {lipschitz!r}.")
        self.parts = list(layers)
        self.lipschitz = lipschitz
        if isinstance(context_shape, int):
            context_shape = (context_shape,)
        self.context_shape = None if context_shape is None else tuple(context_shape)
        self.conditioner = conditioner
        if bool(self._context_biases()) != self.is_conditional or (
            conditioner is not None and not self.is_conditional
        ):
            raise ValueError(
                "A context enters a contraction by ContextBias layers, and context_shape says "
                f"what they receive: both or neither; received context_shape={context_shape!r}, "
                f"conditioner={conditioner!r} and {len(self._context_biases())} such layers. "
                "Contraction.mlp and .conv put them in where they are given a context_shape."
            )

    @property
    def is_conditional(self):
        """Whether ``g`` depends on a context."""
        return self.context_shape is not None

    def _context_biases(self):
        return [each for each in self._flatten_layers() if isinstance(each, ContextBias)]

    @classmethod
    def mlp(
        cls,
        units=(64, 64),
        activation="lipswish",
        coeff=0.9,
        preactivation=False,
        power_iterations=1,
        p=2,
        **kwargs,
    ):
        """Dense layers of the given widths and one back to the input's.

        Args:
            units: widths of the hidden layers; a number for one.
            activation: name or layer; a new one follows each hidden layer.
            coeff: bound on each layer's norm, so ``Lip(g) ≤ coeff^(len(units) + 1)``.
            preactivation: whether an activation comes first.
            power_iterations: steps of power iteration a training step.
            p: exponent of the norm of each layer's output, one for all or one for each (the
                last is that of the block's input too), or ``"learned"``.
            **kwargs: of the contraction; ``dtype`` reaches its layers too, and with a
                ``context_shape`` a `ContextBias` follows each linear layer.
        """
        inner = {"coeff": coeff, "power_iterations": power_iterations, **_inner_options(kwargs)}
        widths = (*((units,) if isinstance(units, int) else units), None)
        linear = [
            SpectralDense(width, p=exponent, **inner)
            for width, exponent in zip(widths, _exponents(p, len(widths)))
        ]
        return cls(_interleave(linear, activation, preactivation, kwargs), **kwargs)

    @classmethod
    def conv(
        cls,
        filters=64,
        kernel_sizes=(3, 1, 3),
        activation="elu",
        coeff=0.9,
        preactivation=False,
        power_iterations=1,
        p=2,
        **kwargs,
    ):
        """Convolutions with the given kernel sizes, the last back to the input's channels.

        Args:
            filters: hidden channels, one number or one for each hidden layer.
            kernel_sizes: of every convolution, the last included.
            activation: name or layer; a new one follows each hidden layer.
            coeff: bound on each layer's norm, so ``Lip(g) ≤ coeff^len(kernel_sizes)``.
            preactivation: whether an activation comes first.
            power_iterations: steps of power iteration a training step.
            p: exponent of the norm of each layer's output, one for all or one for each (the
                last is that of the block's input too), or ``"learned"``.
            **kwargs: of the contraction; ``dtype`` reaches its layers too, and with a
                ``context_shape`` a `ContextBias` follows each linear layer.
        """
        hidden = len(kernel_sizes) - 1
        widths = (filters,) * hidden if isinstance(filters, int) else tuple(filters)
        if len(widths) != hidden:
            raise ValueError(
                f"filters is one number or one for each of the {hidden} hidden convolutions; "
                f"received {filters!r}."
            )
        inner = {"coeff": coeff, "power_iterations": power_iterations, **_inner_options(kwargs)}
        exponents = _exponents(p, len(kernel_sizes))
        linear = [
            SpectralConv2D(width, size, p=exponent, **inner)
            for width, size, exponent in zip((*widths, None), kernel_sizes, exponents)
        ]
        return cls(_interleave(linear, activation, preactivation, kwargs), **kwargs)

    @classmethod
    def dense_net(
        cls,
        growth=64,
        depth=3,
        kernel_size=3,
        activation="clipswish",
        coeff=0.9,
        power_iterations=1,
        **kwargs,
    ):
        """Dense concatenations, then a linear layer back to the input's channels.

        Args:
            growth: output channels of the linear layer of each concatenation.
            depth: number of concatenations.
            kernel_size: of their convolutions, the last being 1×1; ``None`` for dense
                layers on vectors.
            activation: name or layer; a new one follows the linear layer of each.
            coeff: bound on each linear layer's norm; the concatenations are at most 1, so
                ``Lip(g) ≤ coeff``.
            power_iterations: steps of power iteration a training step.
            **kwargs: of the contraction; ``dtype`` reaches its layers too, and with a
                ``context_shape`` a `ContextBias` follows each linear layer.

        Source: Perugachi-Diaz et al. 2021 (arXiv:2102.02694), §3.
        """
        inner = _inner_options(kwargs)
        options = {"coeff": coeff, "power_iterations": power_iterations, **inner}

        def linear(width, size):
            if kernel_size is None:
                return SpectralDense(width, **options)
            return SpectralConv2D(width, size, **options)

        joined = [
            DenseConcatenation(
                [
                    *_with_context(linear(growth, kernel_size), kwargs),
                    activations.get(activation, **inner),
                ]
            )
            for _ in range(depth)
        ]
        return cls([*joined, *_with_context(linear(None, 1), kwargs)], **kwargs)

    @property
    def event_ndims(self):
        """Rank of one sample: 3 where the last linear layer is a convolution, else 1."""
        linear = [p for p in self.parts if isinstance(p, (SpectralConv2D, SpectralDense))]
        return 3 if linear and isinstance(linear[-1], SpectralConv2D) else 1

    def build(self, input_shape):
        widths = [part for part in self.parts if hasattr(part, "set_output_channels")]
        for last in widths[-1:]:
            last.set_output_channels(input_shape[-1])
        if self.is_conditional:
            self._build_conditioner()
        self._chain_norms()
        shape = build_row(self.parts, input_shape)
        if shape[1:] != tuple(input_shape[1:]):
            raise ValueError(
                f"{self.name} must return what it is given, because its value is added to its "
                f"input; it maps {tuple(input_shape)} to {shape}. Change the last layer's width."
            )
        self.input_spec = keras.layers.InputSpec(shape=(None, *shape[1:]))

    def _build_conditioner(self):
        shape: tuple = (None, *(self.context_shape or ()))
        if self.conditioner is not None:
            shape = build_row([self.conditioner], shape)
        if len(shape) != 2 or shape[1] is None:
            raise ValueError(
                f"{self.name} takes the context as a vector of features, [batch, features]; "
                f"contexts of shape {self.context_shape} give {shape}. Give a conditioner that "
                "ends so."
            )
        for bias in self._context_biases():
            bias.features = shape[1]

    def _chain_norms(self):
        """Each linear layer measures its input as the one before measures its output."""
        linear = [part for part in self.parts if isinstance(part, SpectralLayer)]
        for before, layer in zip(linear[-1:] + linear, linear):
            layer.input_exponent = before.output_exponent
        others = [part for part in self.parts if not getattr(part, "contracts_every_norm", False)]
        others = [part.name for part in others if part not in linear]
        if others and not all(layer.is_euclidean() for layer in linear):
            raise ValueError(
                f"{others} in {self.name} are known to contract in the 2-norm alone: the linear "
                "layers beside them take p=2."
            )

    def output_exponent(self):
        """``1/p`` of the norm in which ``g`` is a contraction; a scalar tensor where learned."""
        linear = [part for part in self.parts if isinstance(part, SpectralLayer)]
        return linear[-1].output_exponent() if linear else 0.5

    def bind(self, context=None):
        """The map with the weights as they are now; kernels are constrained once.

        Args:
            context: ``[batch, …context_shape]`` or ``[1, …context_shape]``, where ``g`` is
                conditional.
        """
        if self.conditioner is not None:
            context = self.conditioner(context)
        return bind_row(self.parts, context)

    def call(self, x, context=None):
        return self.bind(context)(x)

    def lipschitz_bound(self):
        """Certified upper bound on ``Lip(g)`` with the weights as they are now.

        Returns:
            float; inside a `tf.function` a float64 scalar tensor.

        Raises:
            ValueError: for layers whose constant is not known, unless the
                contraction was given ``lipschitz``.
        """
        return self._product("lipschitz_bound")

    def lipschitz_target(self):
        """The constant that the constraints hold ``g`` to: ``Π coeff``."""
        return self._product("lipschitz_target")

    def _product(self, bound):
        if self.lipschitz is not None:
            return self.lipschitz
        unknown = [part.name for part in self.parts if not hasattr(part, bound)]
        if unknown:
            raise ValueError(
                f"The Lipschitz constant of {unknown} is not known. Give a bound that you can "
                "vouch for: Contraction([…], lipschitz=…)."
            )
        product = 1.0
        for part in self.parts:
            product = product * getattr(part, bound)()
        return product

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        layers = [keras.saving.serialize_keras_object(part) for part in self.parts]
        config = {**super().get_config(), "layers": layers, "lipschitz": self.lipschitz}
        if not self.is_conditional:
            return config
        conditioner = self.conditioner
        if conditioner is not None:
            conditioner = keras.saving.serialize_keras_object(conditioner)
            # Keras's own mark of a shared object: other contractions may hold it.
            conditioner["shared_object_id"] = id(self.conditioner)
        return {**config, "context_shape": self.context_shape, "conditioner": conditioner}

    @classmethod
    def from_config(cls, config):
        layers = [keras.saving.deserialize_keras_object(each) for each in config["layers"]]
        conditioner = config.get("conditioner")
        if conditioner is not None:
            conditioner = keras.saving.deserialize_keras_object(conditioner)
        return cls(**{**config, "layers": layers, "conditioner": conditioner})


def _exponents(p, count):
    if isinstance(p, (str, int, float)):
        return (p,) * count
    if len(p) != count:
        raise ValueError(f"p is one exponent or one for each of {count} layers; received {p!r}.")
    return tuple(p)


def _inner_options(kwargs):
    return {"dtype": kwargs["dtype"]} if "dtype" in kwargs else {}


def _interleave(linear, activation, preactivation, kwargs):
    """An activation before each but the first, where asked for before it too; biases after."""
    options, layers = _inner_options(kwargs), []
    for index, layer in enumerate(linear):
        if index or preactivation:
            layers.append(activations.get(activation, **options))
        layers += _with_context(layer, kwargs)
    return layers


def _with_context(linear, kwargs):
    """A linear layer, and a `ContextBias` after it in a conditional contraction."""
    if kwargs.get("context_shape") is None:
        return [linear]
    return [linear, ContextBias(**_inner_options(kwargs))]
