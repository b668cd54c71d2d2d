"""Copies of a flow, to be changed without changing the model."""

import itertools
from typing import Any

import keras

from iresnet_tf.layers import Flatten, Invertible, refresh
from iresnet_tf.layers.blocks import innermost


def copied(flow: Invertible, event_shape: tuple[int, ...] | None = None) -> Invertible:
    """Returns a flow of equal layers and weights, on another grid if a shape is given.

    The spectral vectors belong to a grid, so they are computed anew for the copy.  Layers after
    a `Flatten` work on one grid only, so a copy on another grid ends before it.

    Args:
        flow: a built invertible layer.
        event_shape: shape of a sample of the copy; by default that of ``flow``.
    """
    config = _without_shapes(keras.saving.serialize_keras_object(flow))
    if event_shape is not None:
        config = _before_flatten(config)
    copy = keras.saving.deserialize_keras_object(config)
    copy.build((None, *(flow.event_shape if event_shape is None else event_shape)))
    for new, part in zip(innermost(copy), innermost(flow)):
        for target, weight in zip(new.weights, part.weights, strict=True):
            if target.shape == weight.shape:
                target.assign(weight)
    refresh(copy, 1e-6)
    return copy


def _without_shapes(config: Any) -> Any:
    """Returns a serialised layer without the shapes for which it was built."""
    if isinstance(config, dict):
        return {k: _without_shapes(v) for k, v in config.items() if k != "build_config"}
    return [_without_shapes(item) for item in config] if isinstance(config, list) else config


def _before_flatten(config: Any) -> Any:
    """Returns a serialised layer whose stacks, at every depth, end before a `Flatten`."""
    if isinstance(config, dict):
        return {key: _before_flatten(value) for key, value in config.items()}
    if not isinstance(config, list):
        return config
    return [_before_flatten(item) for item in itertools.takewhile(_is_no_flatten, config)]


def _is_no_flatten(config):
    name = keras.saving.get_registered_name(Flatten)
    return not (isinstance(config, dict) and config.get("registered_name") == name)
