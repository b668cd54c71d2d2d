"""Computes the singular values of every layer, to compare them with its coefficient."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.results import Result
from iresnet_tf.layers import SpectralLayer, spectral_layers
from iresnet_tf.numerics import maps

EXACT_ORDER = 4096
"""Largest order of the smaller side of an operator whose Gram matrix is decomposed."""

_SHOWN = 256
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class LayerSpectrum(Result):
    """The singular values of a spectral layer.

    Attributes:
        kind: name of the layer's class.
        coeff: coefficient of the layer, ``None`` if it has no constraint.
        method: see `singular_values`.
        exact: whether the values are exact; those of the method ``"torus"`` are upper bounds.
        count: number of all singular values.
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
                kind=type(layer).__name__,
                coeff=layer.coeff,
                largest=float(values[0]),
                method=method,
                exact=method != "torus",
                count=len(values),
                singular_values=tuple(values[ranks].tolist()),
            )
        )
    return SpectrumStudy(tuple(spectra))


def singular_values(layer: SpectralLayer) -> tuple[np.ndarray, str]:
    """Returns the singular values of the constrained operator, largest first, and the method.

    - ``"matrix"``: the exact values of a dense kernel.  A 1×1 convolution has them at every
      pixel, and they are returned once.
    - ``"gram"``: exact values from ``AᵀA`` or ``AAᵀ``, for a zero-padded convolution or any other
      operator.
    - ``"torus"``: an upper bound on each value, for a larger convolution.  ``A`` is a submatrix of
      the circular convolution on a torus of size ``n + k − 1``, and the i-th singular value of a
      submatrix is at most the i-th of the matrix.

    Args:
        layer: a built layer.

    Returns:
        float64 array ``[count]``, and the name of the method.

    Raises:
        ValueError: for another operator whose smaller side exceeds `EXACT_ORDER`.

    Source: Sedghi et al. 2019 (arXiv:1805.10408), for the torus.
    """
    operator = layer.make_operator(tf.cast(layer.constrained_kernel(), tf.float64))
    kernel = operator.kernel.numpy()
    if isinstance(operator, maps.Dense):
        return np.linalg.svd(kernel, compute_uv=False), "matrix"
    right, left = layer.vector_shapes()
    order = min(math.prod(right), math.prod(left))
    if order <= EXACT_ORDER:
        gram = _gram(operator, right[1:], left[1:])
        return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)), "gram"
    if not isinstance(operator, maps.Convolution):
        raise ValueError(
            f"The operator of {layer.name} has {order} singular values; up to {EXACT_ORDER} of "
            "them are computed, or bounds for a convolution. Leave the layer out of the study."
        )
    return _torus_values(kernel, right[1:-1])[:order], "torus"


def _gram(operator, right, left):
    """Returns the smaller of ``AᵀA`` and ``AAᵀ`` for vectors of the shapes ``right`` and ``left``.

    It applies the operator to some of the unit vectors at a time.
    """
    steps, shape = (operator, operator.adjoint), right
    if math.prod(left) < math.prod(right):
        steps, shape = (operator.adjoint, operator), left
    order = math.prod(shape)
    rows = []
    for start in range(0, order, _CHUNK):
        basis = np.eye(min(_CHUNK, order - start), order, start).reshape(-1, *shape)
        rows.append(steps[1](steps[0](tf.constant(basis))).numpy().reshape(-1, order))
    gram = np.concatenate(rows)
    return 0.5 * (gram + gram.T)


def _torus_values(kernel, grid):
    size = [n + k - 1 for n, k in zip(grid, kernel.shape[:2])]
    transfer = np.fft.fft2(kernel, size, axes=(0, 1))
    return np.sort(np.linalg.svd(transfer, compute_uv=False).ravel())[::-1]
