"""Data that a model was not trained on, with the shape and the levels of its own data."""

import os

import numpy as np

from iresnet_tf.data import sources

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def draw_outliers(
    name: str,
    inside: np.ndarray,
    *,
    levels: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Returns as many examples as ``inside`` has, of its shape and levels.

    Args:
        name: ``"noise"`` draws every pixel from the levels uniformly and independently, and
            points uniformly from the box around ``inside``; ``"constant"`` makes one such draw
            for each image; a name of `iresnet_tf.data.names` takes the test images of that set,
            resized, turned to grey or with grey repeated, and scaled to the levels.
        inside: the model's own data ``[n, …event]``.
        levels: number of levels, ``None`` for continuous data.
        data_dir: folder of the TFDS data sets; ``None`` is the default folder of TFDS.
        seed: seed of the noise and the constants.

    Returns:
        float32 ``[n, …event]``, fewer examples if the data set has fewer.

    Raises:
        ValueError: for an unknown set, or one that cannot be brought to that shape.
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
    size = inside.shape[1] if is_resizable else None
    source = sources.get(name, data_dir=data_dir, size=size)
    x = source.examples("test", len(inside)).x
    if (levels is None) != (source.levels is None) or x.ndim != inside.ndim:
        raise ValueError(
            f"{name} and the model's data are not both images, or both points. Choose a set of "
            "the same kind."
        )
    if levels is not None and source.levels is not None:
        x = with_levels(with_channels(x, inside.shape[-1]), source.levels, levels)
    if x.shape[1:] != inside.shape[1:]:
        raise ValueError(
            f"The examples of {name} have shape {x.shape[1:]} and cannot be brought to the "
            f"model's shape, {inside.shape[1:]}. Choose another set."
        )
    return x


def with_channels(x: np.ndarray, channels: int) -> np.ndarray:
    """Turns colour images to grey by their luminance, or repeats grey, if the channels differ."""
    if x.shape[-1] == channels:
        return x
    grey = x if x.shape[-1] == 1 else np.round(x @ np.array(LUMINANCE))[..., np.newaxis]
    return np.repeat(grey, channels, axis=-1).astype(np.float32)


def with_levels(x: np.ndarray, given: int, wanted: int) -> np.ndarray:
    """``⌊x wanted / given⌋``: maps levels ``{0, …, given − 1}`` to ``{0, …, wanted − 1}``."""
    return np.floor(x * (wanted / given)).astype(np.float32)
