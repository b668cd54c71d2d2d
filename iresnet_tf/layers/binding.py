"""From a Keras layer to the map that it applies."""

from iresnet_tf.numerics.linearization import Automatic


def bind(layer):
    """The map of any Keras layer: its own, written out, or by automatic differentiation."""
    return layer.bind() if hasattr(layer, "bind") else Automatic(layer)
