"""TFP bijectors of the invertible layers."""

from iresnet_tf.bijectors.layer import LayerBijector, Residual, from_layer

__all__ = ["LayerBijector", "Residual", "from_layer"]
