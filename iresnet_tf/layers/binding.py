"""From Keras layers, one or several in a row, to the map that they apply."""

import keras

from iresnet_tf.numerics.maps.linearization import Automatic, Composition


def bind(layer, context=None):
    """The map of any Keras layer: its own, written out, or by automatic differentiation.

    Args:
        layer: the layer.
        context: what the map of a conditional layer is to be taken at.
    """
    if is_conditional(layer):
        return layer.bind(context)
    return layer.bind() if hasattr(layer, "bind") else Automatic(layer)


def bind_row(layers, context=None):
    """The composition of the layers' maps, with the weights as they are now."""
    return Composition(tuple(bind(layer, context) for layer in layers))


def is_conditional(layer):
    """Whether the map of a layer depends on a context."""
    return getattr(layer, "is_conditional", False)


def build_row(layers, input_shape):
    """Builds each layer that is not for the output of the one before it; the last one's shape."""
    shape = tuple(input_shape)
    for layer in layers:
        if not layer.built:
            layer.build(shape)
        symbolic = keras.KerasTensor(shape, dtype=layer.compute_dtype)
        shape = tuple(layer.compute_output_spec(symbolic).shape)
    return shape
