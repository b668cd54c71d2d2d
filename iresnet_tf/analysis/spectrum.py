"""Singular values of every layer, against its coefficient."""

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis import plots
from iresnet_tf.layers import SpectralConv2D, spectral_layers
from iresnet_tf.numerics.maps import operators

EXACT_ORDER = 4096
"""Up to this order of its smaller side an operator's Gram matrix is decomposed."""

_SHOWN = 256
_CHUNK = 64


def singular_values(layer):
    """The singular values of the constrained operator, largest first, and the method.

    ``"matrix"``: of a dense kernel or a 1×1 convolution, the same at every pixel.
    ``"gram"``: exact, from ``AᵀA`` or ``AAᵀ``, zero padding included.
    ``"torus"``, for a convolution too large for that: upper bounds, one for each singular
    value.  ``A`` is a part of the circular convolution on a torus of size ``n + k − 1``, and
    the i-th singular value of a part is at most the i-th of the whole.

    Args:
        layer: a built `SpectralDense` or `SpectralConv2D`.

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


def spectrum(model):
    """Every layer's singular values: a picture and the numbers.

    Returns:
        `matplotlib.figure.Figure`; dict with ``layers``, each with its ``name``, ``kind``,
        ``coeff``, ``largest``, ``method`` and ``exact`` (not of the method ``"torus"``, whose
        figures are upper bounds), and ``singular_values`` (at most 256 of ``count``, evenly
        spaced in rank).
    """
    found = []
    for layer in spectral_layers(model):
        values, method = singular_values(layer)
        ranks = np.unique(np.linspace(0, len(values) - 1, _SHOWN).round().astype(int))
        found.append(
            {
                "name": layer.name,
                "kind": "convolution" if isinstance(layer, SpectralConv2D) else "dense",
                "coeff": layer.coeff,
                "largest": float(values[0]),
                "method": method,
                "exact": method != "torus",
                "count": len(values),
                "singular_values": values[ranks].tolist(),
            }
        )
    return plots.spectra(found), {"layers": found}


def _gram(kernel, grid):
    """``AᵀA`` or ``AAᵀ``, whichever is smaller."""
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
