"""The TFP face of an invertible layer."""

import itertools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.internal import cache_util

from iresnet_tf.layers.invertible import Invertible, as_tensor
from iresnet_tf.layers.residual import ResidualBlock

_hashes = itertools.count()
_names = itertools.count()


class LayerBijector(tfp.bijectors.Bijector):
    """``forward = F`` (data → latent), ``inverse = F⁻¹``, of an invertible layer.

    ``forward_log_det_jacobian`` uses the layer's estimator.  What it draws comes
    from a ``seed`` keyword argument (``bijector_kwargs`` in a distribution), or
    afresh from the layer's generator state.  A conditional layer takes another,
    ``context``, ``[…, …context_shape]``, whose leading axes broadcast to those of the samples.

    TFP caches results by the identity of the input tensor.  In eager mode that
    would outlive a change of weights, freeze a stochastic log-determinant and cut
    gradients, in this bijector and in any ``Chain`` that holds it; so here nothing
    is cached in eager mode (see ``_cache``), and in a ``Chain`` every eager look-up
    is made to miss (see ``__hash__``).  Inside a `tf.function` the cache works
    within one trace and lets a ``log_prob`` evaluate ``g`` once a block.

    Args:
        layer: an `Invertible` layer.
        event_ndims: rank of one sample; needed only where neither the layer's
            kind nor its built shape tells.
        name: unique by default, for ``bijector_kwargs={name: {"seed": …}}``.

    Raises:
        ValueError: for another type of layer, or an unknown rank.
    """

    def __init__(self, layer, event_ndims=None, name=None, parameters=None):
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
        latent_rank = rank if layer.event_shape is None else len(layer.output_event_shape())
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
        """The cache of the graph being traced, gone with it; in eager mode an empty one."""
        storage = cache_util.EphemeralDict()
        if not tf.executing_eagerly():
            graph = tf.compat.v1.get_default_graph()
            storage = getattr(graph, "_iresnet_tf_bijector_cache", storage)
            graph._iresnet_tf_bijector_cache = storage
        return cache_util.BijectorCache(bijector=self, bijector_class=type(self), storage=storage)

    def __hash__(self):
        """Another one for every eager call: the caches of a ``Chain`` are keyed by it."""
        return hash((LayerBijector, next(_hashes) if tf.executing_eagerly() else self._id))

    def __eq__(self, other):
        return self is other

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def _expose_variables(self):
        """Lets `tf.Module` see the layer's variables: a Keras layer is no module itself."""
        if self.layer.built and not self._layer_variables:
            self._layer_variables = tuple(weight.value for weight in self.layer.weights)

    def _forward(self, x, seed=None, context=None):
        if tf.executing_eagerly():
            flat, restore = self._as_batch(x, self.forward_min_event_ndims, self._data_shape())
            flat = self.layer.prepare(flat)
            y = self.layer.call(flat, **self._condition(context, x, flat))
            self._expose_variables()
            return restore(y)
        return self._transform(x, seed, context)[0]

    def _forward_log_det_jacobian(self, x, seed=None, context=None):
        return self._transform(x, seed, context)[1]

    def _transform(self, x, seed, context):
        """Value and log-determinant from one evaluation of ``g``, shared within a trace."""
        options = {"seed": seed, "context": context}
        options = {name: option for name, option in options.items() if option is not None}
        attributes = self._cache.forward_attributes(x, **options)
        if "transform" not in attributes:
            flat, restore = self._as_batch(x, self.forward_min_event_ndims, self._data_shape())
            condition = self._condition(context, x, flat)
            y, log_det = self.layer.forward_and_log_det(flat, seed, **condition)
            self._expose_variables()
            attributes["transform"] = restore(y), restore(log_det)
        return attributes["transform"]

    def _inverse(self, y, seed=None, context=None):
        del seed
        flat, restore = self._as_batch(y, self.inverse_min_event_ndims, self._latent_shape())
        flat = self.layer.prepare_output(flat)
        x = self.layer.preimage(flat, **self._condition(context, y, flat))
        self._expose_variables()
        return restore(x)

    def _condition(self, context, x, flat):
        """The layer's context for the flattened batch of ``x``."""
        shape = self.layer.context_shape
        if context is None or shape is None:
            return self.layer.condition(context, flat)
        context = as_tensor(context, self.layer.compute_dtype)
        rank = context.shape.rank - len(shape)
        if rank < 0 or context.shape[rank:] != shape:
            return self.layer.condition(context, flat)
        if context.shape[:rank].num_elements() != 1:
            leading = tf.shape(x)[: tf.rank(x) - (flat.shape.rank - 1)]
            context = tf.broadcast_to(context, tf.concat([leading, shape], 0))
        return self.layer.condition(tf.reshape(context, [-1, *shape]), flat)

    def _data_shape(self):
        return self.layer.event_shape if self.layer.built else None

    def _latent_shape(self):
        return self.layer.output_event_shape() if self.layer.built else None

    @staticmethod
    def _as_batch(x, event_ndims, built_for):
        """``[…, …event] → [batch, …event]`` and the way back.

        A sample whose square overflows, or that is not finite, comes back as NaN, as from any
        bijector of TFP, while the layer itself would refuse the batch: a sampler's proposals
        may diverge, and are rejected.
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
        flat = _where(within, flat, 0.0)

        def restore(y):
            return tf.reshape(_where(within, y, np.nan), tf.concat([leading, y.shape[1:]], 0))

        return flat, restore

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
        """Shape of a latent sample for a data sample; ``None`` where it is not known yet."""
        if self.layer.built:
            return self.layer.output_event_shape()
        return self.layer.compute_output_shape((None, *event))[1:] if None not in event else None

    def _data_of(self, event):
        if self.layer.built:
            return self.layer.event_shape
        # The layer keeps the shape, or it is not known before the layer is built.
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


def _where(chosen, x, otherwise):
    """The chosen samples of ``x``, and the number otherwise."""
    chosen = tf.reshape(chosen, [-1, *[1] * (x.shape.rank - 1)])
    return tf.where(chosen, x, tf.constant(otherwise, x.dtype))


def from_layer(layer, event_ndims=None, name=None):
    """The bijector of any invertible layer or stack: see `LayerBijector`."""
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

    def __init__(self, block, event_ndims=None, name=None):
        parameters = dict(locals())
        if not isinstance(block, ResidualBlock):
            raise ValueError(
                f"Residual takes a ResidualBlock; received {block!r}. For another invertible "
                "layer use from_layer(layer)."
            )
        super().__init__(block, event_ndims, name, parameters)
