"""Any function as a map, by automatic differentiation."""

from collections.abc import Callable

import tensorflow as tf

from iresnet_tf.numerics.maps.base import Linearization, Map


class Automatic(Map):
    """A function of a batch, linearized by automatic differentiation.

    ``Jᵀ w`` is a backward pass; ``J v`` is the derivative of ``w ↦ Jᵀ w``, which is linear in
    ``w`` (the double-backward construction).  The function ``[batch, …] → [batch, …]`` must treat
    samples independently.
    """

    is_opaque = True

    function: Callable[[tf.Tensor], tf.Tensor]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.function(x)

    def linearize(self, x: tf.Tensor) -> Linearization:
        x = tf.convert_to_tensor(x)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
            with tf.GradientTape(persistent=True, watch_accessed_variables=False) as inner:
                inner.watch(x)
                value = self.function(x)
            dual = tf.zeros_like(value)
            outer.watch(dual)
            transposed = inner.gradient(value, x, dual, unconnected_gradients="zero")

        def vjp(w):
            return inner.gradient(value, x, w, unconnected_gradients="zero")

        def jvp(v):
            return outer.gradient(transposed, dual, v, unconnected_gradients="zero")

        vjp = _over_probes(vjp, value)

        def vjp_in(dtype):
            return lambda w: tf.cast(vjp(tf.cast(w, value.dtype)), dtype)

        return Linearization(value, _over_probes(jvp, x), vjp_in)


def _over_probes(product, like):
    """Extends a product of vectors like ``like [batch, …]`` to ``[probes, batch, …]``."""

    def extended(v):
        if v.shape.rank == like.shape.rank:
            return product(v)
        full = tf.concat([tf.shape(v)[:1], tf.shape(like)], 0)
        probes = tf.unstack(tf.broadcast_to(v, full), num=v.shape[0])
        return tf.stack([product(probe) for probe in probes])

    return extended
