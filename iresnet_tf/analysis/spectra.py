"""The singular values of every layer."""

import dataclasses

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.study import Study
from iresnet_tf.layers import SpectralLayer, spectral_layers
from iresnet_tf.models import FlowModel
from iresnet_tf.numerics import maps

EXACT_ORDER = 4096
"""Largest order of the smaller Gram matrix of an operator that is decomposed."""

_SHOWN = 256
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class LayerSpectrum:
    """The singular values of one layer.

    Attributes:
        name: the layer's name.
        kind: ``"convolution"``, or ``"dense"`` for a layer that acts on the last axis alone.
        coeff: the bound that the layer holds its norm at, or ``None``.
        largest: the largest singular value.
        method: see `singular_values`.
        exact: whether the singular values are exact, and not upper bounds.
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
    singular_values: list[float]


@dataclasses.dataclass(frozen=True)
class Spectrum(Study):
    """The singular values of a model's layers, from the data to the latent side."""

    layers: list[LayerSpectrum]


def spectrum(model: FlowModel) -> Spectrum:
    """Computes the singular values of every spectral layer."""
    return Spectrum([_layer_spectrum(layer) for layer in spectral_layers(model)])


def _layer_spectrum(layer):
    values, method = singular_values(layer)
    ranks = np.unique(np.linspace(0, len(values) - 1, _SHOWN).round().astype(int))
    return LayerSpectrum(
        name=layer.name,
        kind="dense" if layer.event_ndims == 1 else "convolution",
        coeff=layer.coeff,
        largest=float(values[0]),
        method=method,
        exact=method in ("matrix", "gram"),
        count=len(values),
        singular_values=values[ranks].tolist(),
    )


def singular_values(layer: SpectralLayer) -> tuple[np.ndarray, str]:
    """Returns the singular values of the constrained operator, largest first, and the method.

    - ``"matrix"``: exact, of a dense kernel or of a 1×1 convolution, which is the same matrix at
      every pixel.
    - ``"gram"``: exact, from ``AᵀA`` or ``AAᵀ``, zero padding included.
    - ``"torus"``, for a convolution too large for that: an upper bound on each singular value.
      ``A`` is a part of the circular convolution on a torus of size ``n + k − 1``, and the i-th
      singular value of a part is at most the i-th of the whole.
    - ``"norm"``, for any other operator too large for that: the certified norm, which is an upper
      bound on all of them.

    Args:
        layer: a built `SpectralLayer`.

    Returns:
        float64 array ``[count]``, and the name of the method.

    Source: Sedghi et al. 2019 (arXiv:1805.10408), for the torus.
    """
    kernel = tf.cast(layer.constrained_kernel(), tf.float64)
    operator = layer.make_operator(kernel)
    if isinstance(operator, maps.Dense):
        return np.linalg.svd(operator.kernel.numpy(), compute_uv=False), "matrix"
    shapes = [tuple(vector.shape[1:]) for vector in (layer.right_vector, layer.left_vector)]
    order = min(int(np.prod(shape)) for shape in shapes)
    if order <= EXACT_ORDER:
        gram = _gram(operator, *shapes)
        return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)), "gram"
    if isinstance(operator, maps.Convolution):
        return _torus_values(operator.kernel.numpy(), shapes[0][:2])[:order], "torus"
    return np.full(order, layer.certified_spectral_norm(kernel.numpy())), "norm"


def _gram(operator, input_shape, output_shape):
    """``AᵀA`` or ``AAᵀ``, whichever is smaller."""
    is_wide = np.prod(input_shape) > np.prod(output_shape)
    first, second = (operator.adjoint, operator) if is_wide else (operator, operator.adjoint)
    shape = output_shape if is_wide else input_shape
    order = int(np.prod(shape))
    rows = []
    for start in range(0, order, _CHUNK):
        basis = np.eye(min(_CHUNK, order - start), order, start).reshape(-1, *shape)
        rows.append(second(first(tf.constant(basis))).numpy().reshape(-1, order))
    gram = np.concatenate(rows)
    return 0.5 * (gram + gram.T)


def _torus_values(kernel, grid):
    size = [n + k - 1 for n, k in zip(grid, kernel.shape[:2])]
    transfer = np.fft.fft2(kernel, size, axes=(0, 1))
    return np.sort(np.linalg.svd(transfer, compute_uv=False).ravel())[::-1]
