"""Samples and reconstructions of a model, and pictures of the samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from iresnet_tf.analysis import plots
from iresnet_tf.models import DensityModel, FlowModel


def samples_figure(
    model: DensityModel,
    data: np.ndarray,
    count: int,
    *,
    temperature: float = 1.0,
    labels: Sequence[int] | None = None,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws samples of a model.

    Images make a grid, and 2-D points stand next to the density and the data.  Of longer vectors
    the first elements are shown pair by pair, together with those of the data.

    Args:
        model: a built model with a density.
        data: test data, shown with vectors.
        count: number of samples.
        temperature, seed: see `DensityModel.sample`; one temperature.
        labels: classes ``[count]``, for a model whose prior takes labels.
        names: names of the elements of a vector.
    """
    condition: dict[str, Any] = {} if labels is None else {"labels": labels}
    samples = np.asarray(model.sample(count, temperature=temperature, seed=seed, **condition))
    if model.dequantize is not None:
        return plots.image_grid(samples, model.dequantize.levels)
    if samples.shape[1:] != (2,):
        return plots.columns({"data": data[:count], "model": samples}, names)
    return plots.density_and_samples(
        lambda points: model.predict(points, batch_size=4096, verbose=0), samples, data[:2000]
    )


def reconstructed(model: FlowModel, x: np.ndarray | tf.Tensor) -> np.ndarray:
    """Returns ``F⁻¹(F(x))``; for discrete data the levels, after noise was added to ``x``."""
    return np.asarray(model.to_levels(model.decode(model.encode(model.dequantized(x, 0)))))
