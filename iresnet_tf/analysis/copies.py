"""Copies a flow, so that a study can change it and leave the model unchanged."""

from typing import Any

import keras

from iresnet_tf.layers import Flatten, Invertible, refresh
from iresnet_tf.layers.blocks import innermost


def copied(flow: Invertible, event_shape: tuple[int, ...] | None = None) -> Invertible:
    """Returns a copy of a built flow, with equal weights, for samples of ``event_shape``.

    Spectral vectors belong to a grid, so the copy computes new ones.  A copy on another grid ends
    before the first `Flatten`, because the layers after it have weights for one grid only.
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
    name = keras.saving.get_registered_name(Flatten)
    if isinstance(config, dict):
        return {key: _before_flatten(value) for key, value in config.items()}
    if not isinstance(config, list):
        return config
    classes = [item.get("registered_name") if isinstance(item, dict) else None for item in config]
    end = classes.index(name) if name in classes else None
    return [_before_flatten(item) for item in config[:end]]
