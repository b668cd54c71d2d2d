"""Copies of a flow, to be changed without changing the model."""

import itertools

import keras

from iresnet_tf.layers import Flatten, refresh
from iresnet_tf.layers.blocks import innermost


def copied(flow, event_shape=None):
    """A flow of the same layers and weights, on another grid if one is given.

    What belongs to the grid, the spectral vectors, is found anew there.  What follows a
    `Flatten` is bound to the grid that it knows, so another one's copy ends before it.

    Args:
        flow: a built invertible layer.
        event_shape: shape of a sample of the copy; that of ``flow`` by default.
    """
    config = _without_shapes(keras.saving.serialize_keras_object(flow))
    if event_shape is not None:
        config = _before_flatten(config)
    copy = keras.saving.deserialize_keras_object(config)
    copy.build((None, *(flow.event_shape if event_shape is None else event_shape)))
    for own, part in zip(innermost(copy), innermost(flow)):
        for mine, weight in zip(own.weights, part.weights, strict=True):
            if mine.shape == weight.shape:
                mine.assign(weight)
    refresh(copy, 1e-6)
    return copy


def _without_shapes(config):
    """A serialised layer that does not remember the shapes that it was built for."""
    if isinstance(config, dict):
        return {k: _without_shapes(v) for k, v in config.items() if k != "build_config"}
    return [_without_shapes(each) for each in config] if isinstance(config, list) else config


def _before_flatten(config):
    """A serialised layer whose stacks, at every depth, end before a `Flatten`."""
    if isinstance(config, dict):
        return {key: _before_flatten(value) for key, value in config.items()}
    if not isinstance(config, list):
        return config
    return [_before_flatten(each) for each in itertools.takewhile(_is_no_flatten, config)]


def _is_no_flatten(config):
    name = keras.saving.get_registered_name(Flatten)
    return not (isinstance(config, dict) and config.get("registered_name") == name)
