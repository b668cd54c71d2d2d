"""Data that a model was not trained on, in the shape and the levels of its own data."""

import os

import numpy as np
from numpy.typing import ArrayLike

from iresnet_tf.data import sources

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def outliers(
    name: str,
    inside: ArrayLike,
    levels: int | None = None,
    data_dir: str | os.PathLike | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Returns as many other examples as ``inside`` has, in its shape and levels.

    Args:
        name: ``"noise"`` (uniform levels, drawn for every pixel; for points, uniform over the box
            of ``inside``), ``"constant"`` (one such draw for an image), or a data set of
            `sources.names`: its test images, resized, with the channels and levels of
            ``inside``.
        inside: the model's own data ``[n, …event]``.
        levels: number of levels, ``None`` for continuous data.
        data_dir: the TFDS directory.
        seed: of noise and constants.

    Returns:
        float32 ``[n, …event]``, fewer where the data set has fewer.

    Raises:
        ValueError: for an unknown set, or one that cannot be made of that shape.
    """
    inside = np.asarray(inside)
    if name in ("noise", "constant"):
        shape = inside.shape if name == "noise" else (len(inside), *(1,) * (inside.ndim - 1))
        drawn = np.random.default_rng(seed).uniform(size=shape)
        if levels is not None:
            drawn = np.floor(levels * drawn)
        else:
            drawn = inside.min(0) + drawn * (inside.max(0) - inside.min(0))
        return np.broadcast_to(drawn, inside.shape).astype(np.float32)
    is_resizable = inside.ndim == 4 and not name.startswith(("toy-", "digits"))
    source = sources.get(name, data_dir, size=inside.shape[1] if is_resizable else None)
    x = source.examples("test", len(inside))[0]
    if (levels is None) != (source.levels is None) or x.ndim != inside.ndim:
        raise ValueError(f"{name} and the model's data are not both images, or both points.")
    if levels is not None:
        x = with_levels(with_channels(x, inside.shape[-1]), source.levels, levels)
    if x.shape[1:] != inside.shape[1:]:
        raise ValueError(
            f"{name} cannot be made of shape {inside.shape[1:]}: its examples are {x.shape[1:]}."
        )
    return x


def with_channels(x: np.ndarray, channels: int) -> np.ndarray:
    """Returns the images with that number of channels: their luminance, or repeated grey."""
    if x.shape[-1] == channels:
        return x
    grey = x if x.shape[-1] == 1 else np.round(x @ np.array(LUMINANCE))[..., np.newaxis]
    return np.repeat(grey, channels, axis=-1).astype(np.float32)


def with_levels(x: np.ndarray, given: int, wanted: int) -> np.ndarray:
    """Returns ``⌊x wanted/given⌋``, levels ``{0, …, given − 1}`` as ``{0, …, wanted − 1}``."""
    return np.floor(x * (wanted / given)).astype(np.float32)
