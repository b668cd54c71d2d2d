"""Wraps an invertible map in a Keras model: builds it, applies it, inverts it, describes it."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.bijectors import from_layer
from iresnet_tf.internals import all_layers
from iresnet_tf.layers import Dequantize, Invertible, Stack, lipschitz_bounds
from iresnet_tf.layers.contractive import ContractiveLayer
from iresnet_tf.layers.inputs import as_tensor, require_unmasked
from iresnet_tf.models.block_table import print_blocks
from iresnet_tf.models.fitting import FittedModel
from iresnet_tf.models.prior import Prior
from iresnet_tf.models.serving import ServedModel, as_signatures
from iresnet_tf.numerics import random

_COMPUTING = (Invertible, ContractiveLayer, Prior)
"""The layers whose values are added to those of the others."""


class FlowModel(FittedModel, ServedModel):
    """``z = F(x)``: a `keras.Model` around an invertible ``F``, which builds itself from its data.

    Args:
        layers: invertible layers, data side first.
        preprocessing: fixed invertible layers before the others.
        seed: seed of the noise and the probes that ``fit`` and ``evaluate`` draw; by default
            random, as `keras.utils.set_random_seed` decides.
        **kwargs: options of `keras.Model`.

    Raises:
        ValueError: for layers that are not invertible; for conditional layers if
            ``takes_context`` is False; without a conditional layer if it is True.
    """

    takes_context: bool = False
    """Whether the map depends on a context in addition to the data."""

    has_density: bool = False
    """Whether the model has a ``prior``, ``log_prob`` and ``sample``."""

    _object_fields: tuple[str, ...] = ("layers", "preprocessing")
    """The fields of the configuration that hold serialised Keras objects."""

    def __init__(
        self,
        layers: Iterable[Invertible],
        *,
        preprocessing: Sequence[Invertible] = (),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.flow = Stack([*preprocessing, *layers], name="flow", dtype=self.dtype_policy)
        if self.flow.is_conditional != self.takes_context:
            raise ValueError(
                f"{type(self).__name__} takes {'' if self.takes_context else 'no '}conditional "
                f"layers; the context_shape of these is {self.flow.context_shape}. "
                "ConditionalDensityModel is for layers that depend on a context, the others are "
                "for layers that do not."
            )
        self._require_own_dtype(self.flow)
        self.preprocessing_depth = len(preprocessing)
        self.noise_seed = random.seed_value(seed)

    def build(self, input_shape: Sequence[int | None]) -> None:
        if len(input_shape) < 2 or None in tuple(input_shape[1:]):
            raise ValueError(
                f"{self.name} takes batches of samples of a known shape, [batch, …event]; "
                f"received shape {tuple(input_shape)}. Batch the data, or give scalars a "
                "trailing axis of 1."
            )
        if not self.flow.built:
            self.flow.build(tuple(input_shape))
        # A bijector that is made inside a traced step could not be used by a later trace.
        self._bijector = from_layer(self.flow, name="flow")

    def _require_own_dtype(self, layer: keras.layers.Layer) -> None:
        """Raises `ValueError` for a layer that computes in another dtype; a conditioner may."""
        parts = [each for each in all_layers(layer) if isinstance(each, _COMPUTING)]
        others = {each.name: each.compute_dtype for each in parts}
        others = {name: dtype for name, dtype in others.items() if dtype != self.compute_dtype}
        if others:
            name = min(others)
            raise ValueError(
                f"{type(self).__name__} computes in {self.compute_dtype}; received {len(others)} "
                f"layers of another dtype, for example {name} in {others[name]}. Give the model "
                "and all of its layers the same dtype."
            )

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        require_unmasked(x)  # Keras would take masked values for data
        return super().__call__(x, *args, **kwargs)

    def _require_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"{self.name} does not know the shape of its data yet. Fit it, call it on a "
                "batch, or build((None, …event)) it first."
            )

    def encode(self, x: tf.Tensor, *, context: tf.Tensor | None = None) -> tf.Tensor:
        """``z = F(x)``, or ``F(x; context)`` for a model that takes a context.

        Args:
            x: points of data space, ``[batch, …event]``.
            context: ``[batch, …context_shape]``, for a model that takes one.

        Returns:
            ``[batch, …latent]``.
        """
        x = self.flow._prepare(x)
        return self.flow(x, context=self.flow._condition(context, x))

    def decode(
        self, z: tf.Tensor, *, tolerance: float | None = None, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        """``x = F⁻¹(z)``.

        Args:
            z: ``[batch, …latent]``.
            tolerance: largest root mean square error of a sample, in the units of ``x`` (levels
                for images).  By default every block meets the tolerance of its own solver, 1e-6
                in the units of the block.  `Stack.inverse` takes the same tolerance, and also
                reports a bound on the error.
            context: ``[batch, …context_shape]``, for a model that takes one.

        Returns:
            ``[batch, …event]``.
        """
        self._require_built()
        z = self.flow._prepare_output(z)
        return self.flow._inverse_point(z, self.flow._inverse_options(z, tolerance, context))

    def decode_paths(
        self, z: tf.Tensor, *, tolerance: float | None = None, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        """``x = F⁻¹(z)`` for points along paths, in fewer evaluations than `decode` needs.

        In every block, some points start from the solutions of their neighbours, so a path whose
        points lie close together needs few evaluations: see
        `iresnet_tf.numerics.solvers.paths`.  The result equals that of `decode` to the tolerance.

        Args:
            z: ``[paths, steps, …latent]``, the points of each path in order.
            tolerance: see `decode`.
            context: ``[paths, …context_shape]``, or ``[1, …context_shape]`` for all paths, for a
                model that takes one.

        Returns:
            ``[paths, steps, …event]``.

        Raises:
            ValueError: for latents of another shape.
        """
        self._require_built()
        z = as_tensor(z, self.compute_dtype)
        latent_shape = self.flow.latent_shape
        paths = tf.TensorShape([None, None, *latent_shape])
        if z.shape.rank is None or not z.shape.is_compatible_with(paths) or not z.shape[1]:
            raise ValueError(
                f"decode_paths takes latents [paths, steps, {', '.join(map(str, latent_shape))}], "
                f"a known number of steps, at least 1; received {z.shape}. decode takes a batch."
            )
        steps = z.shape[1]
        points = self.flow._prepare_output(tf.reshape(z, [-1, *z.shape[2:]]))
        context = self.flow._condition(context, z[:, 0])
        if context is not None:
            context = tf.broadcast_to(context, [tf.shape(z)[0], *context.shape[1:]])
            context = tf.repeat(context, steps, axis=0)
        options = self.flow._inverse_options(points, tolerance, context)
        x = self.flow._inverse_point(points, dataclasses.replace(options, path_steps=steps))
        return tf.reshape(x, [-1, steps, *self.flow.event_shape])

    def bijector(self) -> tfp.bijectors.Bijector:
        """Returns ``F`` as a TFP bijector from data to latents."""
        self._require_built()
        return self._bijector

    @property
    def dequantize(self) -> Dequantize | None:
        """The `Dequantize` layer at the start of the flow, or ``None`` for continuous data."""
        first = self.flow.parts[0] if self.flow.parts else None
        return first if isinstance(first, Dequantize) else None

    def dequantized(self, x: tf.Tensor, seed: int | tf.Tensor) -> tf.Tensor:
        """Returns levels plus uniform noise on [0, 1), or continuous data unchanged.

        Args:
            x: data ``[batch, …event]``.
            seed: integer or stateless seed of the noise.
        """
        x = as_tensor(x, self.compute_dtype)
        return x if self.dequantize is None else self.dequantize.add_noise(x, seed)

    def centred(self, x: tf.Tensor) -> tf.Tensor:
        """Returns levels plus 1/2, the centres of their cells, or continuous data unchanged."""
        x = as_tensor(x, self.compute_dtype)
        return x if self.dequantize is None else self.dequantize.centres(x)

    def to_levels(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the levels that points of data space belong to, or continuous data unchanged."""
        return x if self.dequantize is None else self.dequantize.to_levels(x)

    @property
    def dimension(self) -> int:
        """``D``, the number of elements of one sample."""
        self._require_built()
        return int(np.prod(self.flow.event_shape))

    @property
    def classes(self) -> int | None:
        """``K``, the number of classes that the model distinguishes, or ``None``."""
        return None

    def lipschitz_bounds(self) -> dict[str, float]:
        """Returns the certified ``Lip(g)`` of every block: see `layers.lipschitz_bounds`."""
        self._require_built()
        return lipschitz_bounds(self.flow)

    def summary(
        self,
        line_length: int | None = None,
        positions: list[float] | None = None,
        print_fn: Callable[[str], object] | None = None,
        expand_nested: bool = False,
        **kwargs: Any,
    ) -> None:
        """Prints the summary of `keras.Model.summary`, then a row for every block.

        A row has the event shape of the block and the channels of ``g``, the number of trainable
        parameters, and the certified bound on ``Lip(g)``.  With ``expand_nested``, every
        constrained layer has a row as well.
        """
        super().summary(line_length, positions, print_fn, expand_nested, **kwargs)
        if self.built:
            print_blocks(self, line_length, print_fn, expand_nested)

    def signatures(self) -> dict[str, Any]:
        """Returns the functions that `export` writes, by name.

        A subclass adds functions: ``{**super().signatures(), **as_signatures(…)}``.
        """
        x = tf.TensorSpec([None, *self.flow.event_shape], self.compute_dtype)
        z = tf.TensorSpec([None, *self.flow.latent_shape], self.compute_dtype)

        def encode(x):
            """Returns latents z = F(x) of points x of data space (if discrete, levels + noise)."""
            return {"z": self.encode(x)}

        def decode(z):
            """Returns points x = F⁻¹(z) of data space (if discrete, floor(x) is the level)."""
            return {"x": self.decode(z)}

        return as_signatures((encode, x), (decode, z))

    def get_config(self) -> dict[str, Any]:
        parts = keras.saving.serialize_keras_object(self.flow.parts)
        return {
            **super().get_config(),
            "layers": parts[self.preprocessing_depth :],
            "preprocessing": parts[: self.preprocessing_depth],
            "seed": self.noise_seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FlowModel":
        config = copy.deepcopy(config)
        for field in cls._object_fields:
            config[field] = keras.saving.deserialize_keras_object(config[field])
        return cls(**config)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model; Keras does not do this for a model that overrides `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)
