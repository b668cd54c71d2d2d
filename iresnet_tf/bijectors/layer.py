"""The TFP bijector of an invertible layer."""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.internals import trace_cache
from iresnet_tf.layers.inputs import as_tensor
from iresnet_tf.layers.invertible import Invertible
from iresnet_tf.layers.residual import ResidualBlock

_hashes = itertools.count()
_names = itertools.count()


class LayerBijector(tfp.bijectors.Bijector):
    """``forward = F`` (data → latent), ``inverse = F⁻¹``, of an invertible layer.

    ``forward_log_det_jacobian`` uses the layer's estimator, whose random numbers depend on the
    keyword argument ``seed`` (``bijector_kwargs`` of a distribution), by default a new one from
    the layer's generator state.  A conditional layer also takes ``context``,
    ``[… , …context_shape]``, whose leading axes broadcast to those of the samples.

    TFP caches results by the identity of the input tensor.  In eager mode such a result would
    outlive a change of weights, freeze a random log-determinant and cut gradients, in this
    bijector and in any ``Chain`` of it.  So nothing is cached in eager mode (see ``_cache``),
    also in a ``Chain`` (see ``__hash__``).  In a `tf.function` the cache is valid within one
    trace, where ``log_prob`` evaluates ``g`` once for each block.

    Args:
        layer: an `Invertible` layer.
        event_ndims: rank of one sample; needed only if the layer is not built and takes any rank.
        name: by default a unique one, for ``bijector_kwargs={name: {"seed": …}}``.
        parameters: the arguments of a subclass's constructor, for TFP.

    Raises:
        ValueError: for another type of layer, or an unknown rank.
    """

    def __init__(
        self,
        layer: Invertible,
        event_ndims: int | None = None,
        name: str | None = None,
        parameters: dict | None = None,
    ) -> None:
        parameters = dict(locals()) if parameters is None else parameters
        if not isinstance(layer, Invertible):
            raise ValueError(
                f"A bijector is made from an invertible layer of iresnet_tf.layers; received "
                f"{layer!r}. Wrap a residual branch as ResidualBlock(g)."
            )
        known = layer.event_ndims
        rank = known if event_ndims is None else int(event_ndims)
        if rank is None:
            raise ValueError(
                f"The rank of a sample is not known for {layer.name}, which is not built yet. "
                "Call the layer on a batch first, or give event_ndims (1 for vectors, 3 for "
                "images)."
            )
        if layer.event_shape is not None and rank != known:
            raise ValueError(
                f"{layer.name} was built for samples of shape {tuple(layer.event_shape)}, of "
                f"rank {known}; received event_ndims={event_ndims!r}. Leave it out."
            )
        latent_rank = rank if layer.event_shape is None else len(layer.latent_shape)
        self._id = next(_hashes)
        self.layer = layer
        self._layer_variables = ()
        super().__init__(
            forward_min_event_ndims=rank,
            inverse_min_event_ndims=latent_rank,
            dtype=tf.as_dtype(layer.compute_dtype),
            parameters=parameters,
            name=name or f"{layer.name}_bijector_{next(_names)}",
        )
        self._expose_variables()

    @property
    def _cache(self):
        return trace_cache(self)

    def __hash__(self):
        """Returns a new number at every eager call, so that the cache of a ``Chain`` misses."""
        return hash((LayerBijector, next(_hashes) if tf.executing_eagerly() else self._id))

    def __eq__(self, other):
        return self is other

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def _expose_variables(self):
        """Shows the layer's variables to `tf.Module`; a Keras layer is no module."""
        if self.layer.built and not self._layer_variables:
            self._layer_variables = tuple(weight.value for weight in self.layer.weights)

    def forward_and_log_det(
        self, x: tf.Tensor, seed: int | tf.Tensor | None = None, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns ``F(x)`` and ``log |det ∂F/∂x|`` from one evaluation, also in eager mode.

        Args:
            x: ``[… , …event]``, in the dtype of the bijector.
            seed, context: see `LayerBijector`.
        """
        return self._transform(x, seed, context)

    def _forward(self, x, seed=None, context=None):
        if tf.executing_eagerly():
            flat, restore = self._as_batch(x)
            flat = self.layer._prepare(flat)
            context = self._condition(context, x, flat)
            y = self.layer.call(flat, **({} if context is None else {"context": context}))
            self._expose_variables()
            y = restore(y)
            _preimages(y)[self._id] = x
            return y
        return self._transform(x, seed, context)[0]

    def _forward_log_det_jacobian(self, x, seed=None, context=None):
        return self._transform(x, seed, context)[1]

    def _transform(self, x, seed, context):
        """Returns the value and the log-determinant, evaluated once in each trace."""
        options = {"seed": seed, "context": context}
        options = {name: option for name, option in options.items() if option is not None}
        attributes = self._cache.forward_attributes(x, **options)
        if "transform" not in attributes:
            flat, restore = self._as_batch(x)
            context = self._condition(context, x, flat)
            y, log_det = self.layer.forward_and_log_det(flat, seed=seed, context=context)
            self._expose_variables()
            attributes["transform"] = restore(y), restore(log_det)
        return attributes["transform"]

    def _inverse(self, y, seed=None, context=None):
        built_for = self.layer.latent_shape if self.layer.built else None
        flat, restore = self._flattened(y, self.inverse_min_event_ndims, built_for)
        flat = self.layer._prepare_output(flat)
        options = self.layer._inverse_options(flat, context=self._condition(context, y, flat))
        known = _preimages(y).get(self._id) if tf.executing_eagerly() else None
        if known is not None:
            options = dataclasses.replace(options, initial=self._as_batch(known)[0])
        x = restore(self.layer._inverse_point(flat, options))
        self._expose_variables()
        if known is not None:
            _preimages(x).update(_preimages(known))
        return x

    def _condition(self, context, x, flat):
        """Returns the layer's context for the flattened batch of ``x``."""
        shape = self.layer.context_shape
        if context is None or shape is None:
            return self.layer._condition(context, flat)
        context = as_tensor(context, self.layer.compute_dtype)
        rank = context.shape.rank - len(shape)
        if rank < 0 or context.shape[rank:] != shape:
            return self.layer._condition(context, flat)
        if context.shape[:rank].num_elements() != 1:
            leading = tf.shape(x)[: tf.rank(x) - (flat.shape.rank - 1)]
            context = tf.broadcast_to(context, tf.concat([leading, shape], 0))
        return self.layer._condition(tf.reshape(context, [-1, *shape]), flat)

    def _as_batch(self, x):
        return self._flattened(x, self.forward_min_event_ndims, self.layer.event_shape)

    @staticmethod
    def _flattened(x, event_ndims, built_for):
        """Returns ``x`` as ``[batch, …event]``, and the function that restores its leading axes.

        A sample that is not finite, or whose square overflows, is replaced, and its result by NaN,
        the convention of TFP.  The layer would refuse the batch, but a sampler's proposals may
        diverge; the sampler then rejects them.
        """
        leading = tf.shape(x)[: tf.rank(x) - event_ndims]
        event = tf.TensorShape([None] * event_ndims)
        if x.shape.rank is not None:
            event = x.shape[max(x.shape.rank - event_ndims, 0) :]
        if built_for is not None and not event.is_fully_defined():
            event = tf.TensorShape(built_for)
        flat = tf.reshape(x, [-1, *event])
        within = tf.abs(flat) < np.sqrt(x.dtype.max)
        within = tf.reduce_all(within, list(range(1, event_ndims + 1)))

        def restore(y):
            return tf.reshape(_where(within, y, np.nan), tf.concat([leading, y.shape[1:]], 0))

        return _where(within, flat, 0.0), restore

    # Event shapes.

    def _forward_event_shape(self, shape):
        return self._event_shape(shape, self.forward_min_event_ndims, self._latent_of)

    def _inverse_event_shape(self, shape):
        return self._event_shape(shape, self.inverse_min_event_ndims, self._data_of)

    def _forward_event_shape_tensor(self, shape):
        return self._event_shape_tensor(shape, self.forward_min_event_ndims, self._latent_of)

    def _inverse_event_shape_tensor(self, shape):
        return self._event_shape_tensor(shape, self.inverse_min_event_ndims, self._data_of)

    def _latent_of(self, event):
        """Returns the shape of a latent sample for a data sample; ``None`` if not known yet."""
        if self.layer.built:
            return self.layer.latent_shape
        if None in event:
            return None
        try:
            return self.layer.compute_output_shape((None, *event))[1:]
        except ValueError:
            return None  # the layer does not take this shape

    def _data_of(self, event):
        if self.layer.built:
            return self.layer.event_shape
        # Before it is built, only a layer that keeps the shape tells it.
        return event if self._latent_of(event) == event else None

    @staticmethod
    def _event_shape(shape, event_ndims, target):
        if shape.rank is None:
            return shape
        leading, event = shape[: shape.rank - event_ndims], shape[shape.rank - event_ndims :]
        other = target(tuple(event))
        return leading.concatenate([None] * event_ndims if other is None else other)

    def _event_shape_tensor(self, shape, event_ndims, target):
        leading, event = shape[: tf.size(shape) - event_ndims], shape[-event_ndims:]
        known = tf.get_static_value(event)
        other = target(tuple([None] * event_ndims if known is None else map(int, known)))
        if other is None:
            raise ValueError(
                f"The event shape is not known: {self.layer.name} is not built yet. Call the "
                "layer on a batch first."
            )
        return tf.concat([leading, tf.constant(other, shape.dtype)], 0)


def _preimages(y):
    """Returns the points that bijectors have mapped to an eager tensor, by the bijectors' numbers.

    `tfd.TransformedDistribution` asks for the log-determinant at the latent that it has just
    computed.  The solver starts from the point that is kept here, and needs no iteration unless the
    weights have changed.
    """
    if not hasattr(y, "_iresnet_tf_preimages"):
        y._iresnet_tf_preimages = {}
    return y._iresnet_tf_preimages


def _where(chosen, x, otherwise):
    """Returns ``x`` with the number ``otherwise`` in all samples that are not chosen."""
    chosen = tf.reshape(chosen, [-1, *[1] * (x.shape.rank - 1)])
    return tf.where(chosen, x, tf.constant(otherwise, x.dtype))


def from_layer(
    layer: Invertible, event_ndims: int | None = None, name: str | None = None
) -> LayerBijector:
    """Returns the `LayerBijector` of an invertible layer."""
    return LayerBijector(layer, event_ndims, name)


class Residual(LayerBijector):
    """The bijector of ``y = x + g(x)``: ``forward`` is the block, ``inverse`` its inverse.

    ``forward_log_det_jacobian = log |det(I + J_g)|`` in nats, data → latent.

    Args:
        block: a `ResidualBlock`.
        event_ndims, name: see `LayerBijector`.

    Example:
        >>> bijector = Residual(block)
        >>> flow = tfd.TransformedDistribution(
        ...     tfd.Sample(tfd.Normal(0.0, 1.0), 2), tfb.Invert(bijector))

    Source: Behrmann et al. 2019 (arXiv:1811.00995).
    """

    def __init__(
        self, block: ResidualBlock, event_ndims: int | None = None, name: str | None = None
    ) -> None:
        parameters = dict(locals())
        if not isinstance(block, ResidualBlock):
            raise ValueError(
                f"Residual takes a ResidualBlock; received {block!r}. For another invertible "
                "layer use from_layer(layer)."
            )
        super().__init__(block, event_ndims, name, parameters)
