"""The TFP face of an invertible layer."""

import itertools

import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.layers.invertible import Invertible
from iresnet_tf.layers.residual import ResidualBlock

_hashes = itertools.count()
_names = itertools.count()


class LayerBijector(tfp.bijectors.Bijector):
    """``forward = F`` (data → latent), ``inverse = F⁻¹``, of an invertible layer.

    ``forward_log_det_jacobian`` uses the layer's estimator.  What it draws comes
    from a ``seed`` keyword argument (``bijector_kwargs`` in a distribution), or
    afresh from the layer's generator state.

    TFP caches results by the identity of the input tensor.  In eager mode that
    would outlive a change of weights, freeze a stochastic log-determinant and cut
    gradients, in this bijector and in any ``Chain`` that holds it; so every eager
    look-up is made to miss (see ``__hash__``).  Inside a `tf.function` the cache
    works within one trace and lets a ``log_prob`` evaluate ``g`` once a block.

    Args:
        layer: an `Invertible` layer.
        event_ndims: rank of one sample; needed only where neither the layer's
            kind nor its built shape tells.
        name: unique by default, for ``bijector_kwargs={name: {"seed": …}}``.

    Raises:
        ValueError: for another type of layer, or an unknown rank.
    """

    def __init__(self, layer, event_ndims=None, name=None):
        if not isinstance(layer, Invertible):
            raise ValueError(
                f"A bijector is made from an invertible layer of iresnet_tf.layers; received "
                f"{layer!r}. Wrap a residual branch as ResidualBlock(g)."
            )
        known = layer.event_ndims if layer.event_shape is None else len(layer.event_shape)
        rank = known if event_ndims is None else int(event_ndims)
        if rank is None:
            raise ValueError(
                f"The rank of a sample is not known for {layer.name}, which is not built yet. "
                "Call the layer on a batch first, or give event_ndims (1 for vectors, 3 for "
                "images)."
            )
        latent_rank = rank if layer.event_shape is None else len(layer.output_event_shape())
        self._id = next(_hashes)
        self.layer = layer
        self._layer_variables = ()
        super().__init__(
            forward_min_event_ndims=rank,
            inverse_min_event_ndims=latent_rank,
            dtype=tf.as_dtype(layer.compute_dtype),
            parameters=None,
            name=name or f"{layer.name}_bijector_{next(_names)}",
        )
        self._expose_variables()

    def __hash__(self):
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

    def _forward(self, x, seed=None):
        if tf.executing_eagerly():
            flat, restore = self._as_batch(x, self.forward_min_event_ndims)
            return restore(self.layer(self.layer.prepare(flat)))
        return self._transform(x, seed)[0]

    def _forward_log_det_jacobian(self, x, seed=None):
        return self._transform(x, seed)[1]

    def _transform(self, x, seed):
        """Value and log-determinant from one evaluation of ``g``, shared within a trace."""
        attributes = self._cache.forward_attributes(x, **({} if seed is None else {"seed": seed}))
        if "transform" not in attributes:
            flat, restore = self._as_batch(x, self.forward_min_event_ndims)
            y, log_det = self.layer.forward_and_log_det(flat, seed)
            self._expose_variables()
            leading = tf.shape(x)[: tf.rank(x) - self.forward_min_event_ndims]
            attributes["transform"] = restore(y), tf.reshape(log_det, leading)
        return attributes["transform"]

    def _inverse(self, y, seed=None):
        del seed
        flat, restore = self._as_batch(y, self.inverse_min_event_ndims)
        x = self.layer.preimage(self.layer.prepare_output(flat))
        self._expose_variables()
        return restore(x)

    @staticmethod
    def _as_batch(x, event_ndims):
        """``[…, …event] → [batch, …event]`` and the way back."""
        leading = tf.shape(x)[: tf.rank(x) - event_ndims]
        event = x.shape[x.shape.rank - event_ndims :]
        flat = tf.reshape(x, [-1, *event])

        def restore(y):
            return tf.reshape(y, tf.concat([leading, y.shape[1:]], 0))

        return flat, restore

    def _forward_event_shape(self, shape):
        if not self.layer.built or shape.rank is None:
            return shape
        return shape[: shape.rank - self.forward_min_event_ndims].concatenate(
            self.layer.output_event_shape()
        )

    def _inverse_event_shape(self, shape):
        if not self.layer.built or shape.rank is None:
            return shape
        return shape[: shape.rank - self.inverse_min_event_ndims].concatenate(
            self.layer.event_shape
        )

    def _forward_event_shape_tensor(self, shape):
        return self._event_shape_tensor(
            shape, self.forward_min_event_ndims, self.layer.output_event_shape
        )

    def _inverse_event_shape_tensor(self, shape):
        return self._event_shape_tensor(
            shape, self.inverse_min_event_ndims, lambda: self.layer.event_shape
        )

    def _event_shape_tensor(self, shape, event_ndims, target):
        if not self.layer.built:
            return shape
        leading = shape[: tf.size(shape) - event_ndims]
        return tf.concat([leading, tf.constant(target(), shape.dtype)], 0)


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
        if not isinstance(block, ResidualBlock):
            raise ValueError(
                f"Residual takes a ResidualBlock; received {block!r}. For another invertible "
                "layer use from_layer(layer)."
            )
        super().__init__(block, event_ndims, name)
