"""Copies of a flow, to be changed without changing the model."""

import keras

from iresnet_tf.layers import refresh


def copied(flow, event_shape=None):
    """A flow of the same layers and weights, on another grid if one is given.

    What belongs to the grid, the spectral vectors, is found anew there.

    Args:
        flow: a built invertible layer.
        event_shape: shape of a sample of the copy; that of ``flow`` by default.
    """
    config = _without_shapes(keras.saving.serialize_keras_object(flow))
    copy = keras.saving.deserialize_keras_object(config)
    copy.build((None, *(flow.event_shape if event_shape is None else event_shape)))
    for own, weight in zip(copy.weights, flow.weights, strict=True):
        if own.shape == weight.shape:
            own.assign(weight)
    refresh(copy, 1e-6)
    return copy


def _without_shapes(config):
    """A serialised layer that does not remember the shapes that it was built for."""
    if isinstance(config, dict):
        return {k: _without_shapes(v) for k, v in config.items() if k != "build_config"}
    return [_without_shapes(each) for each in config] if isinstance(config, list) else config
