"""Draws the samples and the reconstructions of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from iresnet_tf.analysis.plots.images import image_grid, image_pairs
from iresnet_tf.analysis.plots.vectors import columns, density_and_samples, point_pairs
from iresnet_tf.models import ConditionalDensityModel, DensityModel, FlowModel


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

    Images form a grid.  Points of the plane are drawn next to the density and the data.  For
    longer vectors, pairs of the first elements are drawn together with those of the data.

    Args:
        model: a built `DensityModel`.
        data: test data ``[n, …event]``, to compare vectors with.
        count: number of samples.
        temperature, seed: see `DensityModel.sample`.
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


def conditional_samples(
    model: ConditionalDensityModel,
    data: np.ndarray,
    context: np.ndarray,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws pairs of columns of data together with those of samples, one for each context.

    If the model is right, both have the same distribution.

    Args:
        model: a built `ConditionalDensityModel` of vectors.
        data: test data ``[n, columns]``.
        context: their contexts ``[n, …context_shape]``.
        temperature, seed: see `DensityModel.sample`.
        names: names of the columns.
    """
    options = {"temperature": temperature, "seed": seed}
    drawn = np.asarray(model.sample(1, context=context, **options))[:, 0]
    return columns({"data": data, "model": drawn}, names=names)


def reconstructions(
    model: FlowModel,
    x: np.ndarray,
    *,
    levels: int | None = None,
    names: Sequence[str] | None = None,
    context: np.ndarray | None = None,
) -> Figure:
    """Draws data together with ``F⁻¹(F(x))``.

    Args:
        model: a built model of `iresnet_tf.models`.
        x: data ``[n, …event]``; levels if they are discrete.
        levels: number of levels of images, ``None`` for points and longer vectors.
        names: names of the elements of a vector.
        context: ``[n, …context_shape]``, for a model that takes one.
    """
    restored = reconstructed(model, x, context)
    if levels is not None:
        return image_pairs(x, restored, levels)
    if x.shape[1:] == (2,):
        return point_pairs(x, restored)
    return columns({"data": x, "reconstruction": restored}, names=names)


def reconstructed(model: FlowModel, x: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
    """Returns ``F⁻¹(F(x))``; for discrete data, the levels of the restored points."""
    latent = model.encode(model.dequantized(x, 0), context=context)
    return np.asarray(model.to_levels(model.decode(latent, context=context)))
