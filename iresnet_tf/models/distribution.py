"""The distribution over data space that a flow and its prior define."""

import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.internals import split_kwargs


class FlowDistribution(tfp.distributions.TransformedDistribution):
    """``log p(x) = log p_Z(F(x)) + log |det ∂F/∂x|`` for ``bijector = Invert(F)``.

    It evaluates the log-determinant at ``x``.  TFP's base class evaluates it at ``F⁻¹(F(x))``,
    which costs an inversion whenever nothing is cached.
    """

    def _log_prob(self, x: tf.Tensor, **kwargs) -> tf.Tensor:
        prior_kwargs, flow_kwargs = split_kwargs(self, kwargs)
        flow = self.bijector.bijector
        latent, log_det = flow.forward_and_log_det(tf.identity(x), **flow_kwargs)
        return self.distribution.log_prob(latent, **prior_kwargs) + log_det
