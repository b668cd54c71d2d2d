"""Samples and reconstructions of a model, as pictures."""

import numpy as np

from iresnet_tf.analysis import plots


def samples_figure(model, data, count, temperature=1.0, seed=0, labels=None, names=None):
    """Samples as a grid of images; of 2-D points beside the density and the data.

    Of vectors of other lengths, the first elements pair by pair, with those of the data.

    Args:
        model: a built `DensityModel`.
        data: test data, to show beside vectors.
        count: number of samples.
        temperature, seed: of `DensityModel.sample`; one temperature.
        labels: classes ``[count]``, for a model with a conditional prior.
        names: of the elements of a vector.

    Returns:
        `matplotlib.figure.Figure`.
    """
    condition = {} if labels is None else {"labels": labels}
    samples = np.asarray(model.sample(count, temperature=temperature, seed=seed, **condition))
    if model.dequantize is not None:
        return plots.image_grid(samples, model.dequantize.levels)
    if samples.shape[1:] != (2,):
        return plots.columns({"data": data[:count], "model": samples}, names)
    return plots.density_and_samples(
        lambda points: model.predict(points, batch_size=4096, verbose=0), samples, data[:2000]
    )


def reconstructed(model, x):
    """``F⁻¹(F(x))`` as an array, levels (with noise and without it again) where there are any."""
    return np.asarray(model.to_levels(model.decode(model.encode(model.dequantized(x, 0)))))
