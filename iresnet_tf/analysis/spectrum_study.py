"""The singular values of every layer, compared with its coefficient."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.results import Result
from iresnet_tf.layers import SpectralConv2D, SpectralDense, spectral_layers
from iresnet_tf.numerics.maps import operators

EXACT_ORDER = 4096
"""Largest order of the smaller side of an operator whose Gram matrix is decomposed."""

_SHOWN = 256
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class LayerSpectrum(Result):
    """The singular values of a spectral layer.

    Attributes:
        name: name of the layer.
        kind: ``"convolution"`` or ``"dense"``.
        coeff: its coefficient, ``None`` for a layer without a constraint.
        largest: the largest singular value, or an upper bound on it.
        method: see `singular_values`.
        exact: whether the values are exact; those of the method ``"torus"`` are upper bounds.
        count: number of singular values.
        singular_values: at most 256 of them, evenly spaced in rank, largest first.
    """

    name: str
    kind: str
    coeff: float | None
    largest: float
    method: str
    exact: bool
    count: int
    singular_values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class SpectrumStudy(Result):
    """The singular values of the spectral layers of a model, from the data to the latent side."""

    layers: tuple[LayerSpectrum, ...]


def study_spectrum(model: keras.Model) -> SpectrumStudy:
    """Computes the singular values of every spectral layer of a built model."""
    spectra = []
    for layer in spectral_layers(model):
        values, method = singular_values(layer)
        ranks = np.unique(np.linspace(0, len(values) - 1, _SHOWN).round().astype(int))
        spectra.append(
            LayerSpectrum(
                name=layer.name,
                kind="convolution" if isinstance(layer, SpectralConv2D) else "dense",
                coeff=layer.coeff,
                largest=float(values[0]),
                method=method,
                exact=method != "torus",
                count=len(values),
                singular_values=tuple(values[ranks].tolist()),
            )
        )
    return SpectrumStudy(tuple(spectra))


def singular_values(layer: SpectralDense | SpectralConv2D) -> tuple[np.ndarray, str]:
    """Returns the singular values of the constrained operator, largest first, and the method.

    - ``"matrix"``: the exact values of a dense kernel.  A 1×1 convolution has them at every
      pixel, and they are returned once.
    - ``"gram"``: exact values from ``AᵀA`` or ``AAᵀ``, zero padding included.
    - ``"torus"``: an upper bound on each value, for a convolution that is too large for that.
      ``A`` is a part of the circular convolution on a torus of size ``n + k − 1``, and the i-th
      singular value of a part is at most the i-th of the whole.

    Args:
        layer: a built layer.

    Returns:
        float64 array ``[count]``, and a string.

    Source: Sedghi et al. 2019 (arXiv:1805.10408), for the torus.
    """
    kernel = layer.constrained_kernel().numpy().astype(np.float64)
    if kernel.ndim == 4 and kernel.shape[:2] == (1, 1):
        kernel = kernel[0, 0]
    if kernel.ndim == 2:
        return np.linalg.svd(kernel, compute_uv=False), "matrix"
    order = int(np.prod(layer.grid)) * min(kernel.shape[2:])
    if order > EXACT_ORDER:
        return _torus_values(kernel, layer.grid)[:order], "torus"
    gram = _gram(kernel, layer.grid)
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)), "gram"


def _gram(kernel, grid):
    """Returns the smaller one of ``AᵀA`` and ``AAᵀ``."""
    operator = operators.Convolution(tf.constant(kernel))
    inputs, outputs = kernel.shape[2:]
    maps = (operator, operator.adjoint) if inputs <= outputs else (operator.adjoint, operator)
    shape = (*grid, min(inputs, outputs))
    order = int(np.prod(shape))
    rows = []
    for start in range(0, order, _CHUNK):
        basis = np.eye(min(_CHUNK, order - start), order, start).reshape(-1, *shape)
        rows.append(maps[1](maps[0](tf.constant(basis))).numpy().reshape(-1, order))
    gram = np.concatenate(rows)
    return 0.5 * (gram + gram.T)


def _torus_values(kernel, grid):
    size = [n + k - 1 for n, k in zip(grid, kernel.shape[:2])]
    transfer = np.fft.fft2(kernel, size, axes=(0, 1))
    return np.sort(np.linalg.svd(transfer, compute_uv=False).ravel())[::-1]
