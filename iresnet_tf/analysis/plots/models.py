"""Pictures of the samples and the reconstructions of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from iresnet_tf.analysis.plots.images import image_grid, image_pairs
from iresnet_tf.analysis.plots.vectors import columns, density_and_samples, point_pairs
from iresnet_tf.models import DensityModel, FlowModel


def samples(
    model: DensityModel,
    data: np.ndarray,
    *,
    count: int,
    temperature: float = 1.0,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws samples of a model.

    Images form a grid.  Points of the plane are drawn next to the density and the data.  Of
    longer vectors, the first elements are drawn in pairs, together with the data.

    Args:
        model: a built `DensityModel`.
        data: test data ``[n, …event]``, to compare vectors with.
        count: number of samples.
        temperature: factor of the scale of the prior.
        seed: seed of the samples.
        labels: classes ``[count]``, for a model whose prior takes labels.
        names: names of the elements of a vector.
    """
    condition: dict[str, Any] = {} if labels is None else {"labels": labels}
    drawn = np.asarray(model.sample(count, temperature=temperature, seed=seed, **condition))
    if model.dequantize is not None:
        return image_grid(drawn, model.dequantize.levels)
    if drawn.shape[1:] != (2,):
        return columns({"data": data[:count], "model": drawn}, names=names)
    return density_and_samples(
        lambda points: model.predict(points, batch_size=4096, verbose=0), drawn, data[:2000]
    )


def reconstructions(
    model: FlowModel,
    x: np.ndarray,
    *,
    levels: int | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws data together with ``F⁻¹(F(x))``.

    Args:
        model: a built model of `iresnet_tf.models`.
        x: data ``[n, …event]``; levels if they are discrete.
        levels: number of levels of images, ``None`` for points and longer vectors.
        names: names of the elements of a vector.
    """
    restored = reconstructed(model, x)
    if levels is not None:
        return image_pairs(x, restored, levels)
    if x.shape[1:] == (2,):
        return point_pairs(x, restored)
    return columns({"data": x, "reconstruction": restored}, names=names)


def reconstructed(model: FlowModel, x: np.ndarray) -> np.ndarray:
    """Returns ``F⁻¹(F(x))``; for discrete data the levels of the restored points."""
    return np.asarray(model.to_levels(model.decode(model.encode(model.dequantized(x, 0)))))
