"""A contraction: layers in a row whose Lipschitz constants multiply to less than one."""

import keras

from iresnet_tf.layers import activations
from iresnet_tf.layers.binding import bind_row, build_row
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

    Shapes: the output's equals the input's.

    Raises:
        ValueError: if there is no layer, the shapes differ, ``lipschitz`` ≤ 0, or linear
            layers bound another norm than others here contract.
    """

    def __init__(self, layers, lipschitz=None, **kwargs):
        if not layers:
            raise ValueError("A contraction needs at least one layer; received none.")
        kwargs.setdefault("dtype", layers[0].dtype_policy.name)
        super().__init__(**kwargs)
        if lipschitz is not None and not lipschitz > 0.0:
            raise ValueError(f"lipschitz is a positive number; received {lipschitz!r}.")
        self.parts = list(layers)
        self.lipschitz = lipschitz

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
            units: widths of the hidden layers.
            activation: name or layer; a new one follows each hidden layer.
            coeff: bound on each layer's norm, so ``Lip(g) ≤ coeff^(len(units) + 1)``.
            preactivation: whether an activation comes first.
            power_iterations: steps of power iteration a training step.
            p: exponent of the norm of each layer's output, one for all or one for each (the
                last is that of the block's input too), or ``"learned"``.
            **kwargs: of the contraction; ``dtype`` reaches its layers too.
        """
        inner = {"coeff": coeff, "power_iterations": power_iterations, **_inner_options(kwargs)}
        widths = (*units, None)
        linear = [
            SpectralDense(width, p=exponent, **inner)
            for width, exponent in zip(widths, _exponents(p, len(widths)))
        ]
        return cls(_interleave(linear, activation, preactivation, _inner_options(kwargs)), **kwargs)

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
            **kwargs: of the contraction; ``dtype`` reaches its layers too.
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
        return cls(_interleave(linear, activation, preactivation, _inner_options(kwargs)), **kwargs)

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
            **kwargs: of the contraction; ``dtype`` reaches its layers too.

        Source: Perugachi-Diaz et al. 2021 (arXiv:2102.02694), §3.
        """
        inner = _inner_options(kwargs)
        options = {"coeff": coeff, "power_iterations": power_iterations, **inner}

        def linear(width, size):
            if kernel_size is None:
                return SpectralDense(width, **options)
            return SpectralConv2D(width, size, **options)

        joined = [
            DenseConcatenation([linear(growth, kernel_size), activations.get(activation, **inner)])
            for _ in range(depth)
        ]
        return cls([*joined, linear(None, 1)], **kwargs)

    @property
    def event_ndims(self):
        """Rank of one sample: 3 where the last linear layer is a convolution, else 1."""
        linear = [p for p in self.parts if isinstance(p, (SpectralConv2D, SpectralDense))]
        return 3 if linear and isinstance(linear[-1], SpectralConv2D) else 1

    def build(self, input_shape):
        last = self.parts[-1]
        if hasattr(last, "set_output_channels"):
            last.set_output_channels(input_shape[-1])
        self._chain_norms()
        shape = build_row(self.parts, input_shape)
        if shape[1:] != tuple(input_shape[1:]):
            raise ValueError(
                f"{self.name} must return what it is given, because its value is added to its "
                f"input; it maps {tuple(input_shape)} to {shape}. Change the last layer's width."
            )
        self.input_spec = keras.layers.InputSpec(shape=(None, *shape[1:]))

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

    def bind(self):
        """The map with the weights as they are now; kernels are constrained once."""
        return bind_row(self.parts)

    def call(self, x):
        return self.bind()(x)

    def lipschitz_bound(self):
        """Certified upper bound on ``Lip(g)`` with the weights as they are now.

        Returns:
            float; inside a `tf.function` a float64 scalar tensor.

        Raises:
            ValueError: for layers whose constant is not known, unless the
                contraction was given ``lipschitz``.
        """
        return self._product("lipschitz_bound")

    def enforced_lipschitz(self):
        """The constant that the constraints hold ``g`` to: ``Π coeff``."""
        return self._product("enforced_lipschitz")

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
        return {**super().get_config(), "layers": layers, "lipschitz": self.lipschitz}

    @classmethod
    def from_config(cls, config):
        layers = [keras.saving.deserialize_keras_object(each) for each in config["layers"]]
        return cls(**{**config, "layers": layers})


def _exponents(p, count):
    if isinstance(p, (str, int, float)):
        return (p,) * count
    if len(p) != count:
        raise ValueError(f"p is one exponent or one for each of {count} layers; received {p!r}.")
    return tuple(p)


def _inner_options(kwargs):
    return {"dtype": kwargs["dtype"]} if "dtype" in kwargs else {}


def _interleave(linear, activation, preactivation, options):
    layers = []
    for index, layer in enumerate(linear):
        if index or preactivation:
            layers.append(activations.get(activation, **options))
        layers.append(layer)
    return layers
