"""Certified upper bounds of the spectral norm of matrices and of convolutions.

Power iteration approaches a norm from below, so it cannot show that a layer is a contraction.  The
bounds here are never below the norm, rounding included: they are computed in float64 and enlarged
by a stated margin.  A kernel is an array of a dtype that float64 holds exactly, else `TypeError`
is raised.  The convolution is ``tf.nn.conv2d(x, kernel, 1, "SAME")`` of an image
``[height, width, in]``:

    (A x)[p] = Σ_t x[p + t − before] K[t],   before = ⌊(k − 1) / 2⌋,   x = 0 off the grid.
"""

import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import LinAlgError, cholesky_banded
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

MAX_FLOPS, MAX_BYTES = 4e11, 1.5e9  # a larger Cholesky factor is replaced by the torus bound
CACHED_RESULTS = 1024
EPSILON = np.finfo(np.float64).eps


def _cached_by_content(bound):
    """Caches the latest results of ``bound(kernel, …)`` by the values of the kernel."""
    results: dict[tuple, float] = {}  # least recently used first

    @functools.wraps(bound)
    def cached(kernel, *arguments, **options):
        kernel = _as_float64(kernel)
        digest = hashlib.blake2b(np.ascontiguousarray(kernel).tobytes()).digest()
        key = (kernel.shape, digest, repr((arguments, options)))
        results[key] = results.pop(key) if key in results else bound(kernel, *arguments, **options)
        if len(results) > CACHED_RESULTS:
            results.pop(next(iter(results)))
        return results[key]

    return cached


@_cached_by_content
def dense_norm(kernel: np.ndarray) -> float:
    """Bounds ``σ_max(W) ≤ σ̂ (1 + 10⁻¹² + 4 max(m, n) ε)``, σ̂ from a backward stable decomposition.

    Args:
        kernel: array ``[m, n]``.

    Returns:
        float, at least the spectral norm; ``inf`` if an entry is not finite.

    Raises:
        ValueError: if the kernel is not a matrix, or is empty.
    """
    kernel = _as_float64(kernel)
    if kernel.ndim != 2 or kernel.size == 0:
        raise ValueError(f"A dense kernel is a matrix [m, n]; received shape {kernel.shape}.")
    if not np.isfinite(kernel).all():
        return math.inf
    largest = np.linalg.svd(kernel, compute_uv=False)[0]
    return float(largest * (1 + 1e-12 + 4 * max(kernel.shape) * EPSILON))


@_cached_by_content
def torus_bound(kernel: np.ndarray, grid: Sequence[int]) -> float:
    """Bounds ``‖A‖ ≤ max_ω σ_max(Σ_t K[t] e^{iω·t})``, ω the frequencies of a torus.

    On a torus of size ``(height + kh − 1, width + kw − 1)`` no window reaches the grid from both
    sides.  So ``A`` is the circular convolution of images that are zero off the grid, read on the
    grid: a compression, of no larger norm.  For 3×3 kernels the bound is loose by 2–5 % on a
    16×16 grid, up to 9 % on 8×8 and 32 % on 4×4, most for smooth kernels.

    Args:
        kernel: array ``[kh, kw, in, out]``.
        grid: ``(height, width)`` of the image.

    Returns:
        float, at least the norm of the convolution; ``inf`` if an entry is not finite.

    Raises:
        ValueError: if the kernel is empty or not of rank 4, or the grid not two positive integers.

    Source: Sedghi, Gupta and Long 2019 (arXiv:1805.10408), the circular case.
    """
    kernel, grid, scale = _standard_form(kernel, grid)
    if not np.isfinite(kernel).all():
        return math.inf
    kh, kw, inputs, outputs = kernel.shape
    # With one tap in a direction, all its frequencies have the same response.
    height, width = (n + k - 1 if k > 1 else 1 for n, k in zip(grid, (kh, kw), strict=True))
    # The kernel is real, so the response at −ω is the conjugate of that at ω: half is enough.
    rows = np.outer(np.arange(height), np.arange(kh)) % height
    columns = np.outer(np.arange(width // 2 + 1), np.arange(kw)) % width
    waves = np.kron(np.exp(2j * np.pi / height * rows), np.exp(2j * np.pi / width * columns))
    largest, chunk = 0.0, max(1, 2**21 // (inputs * outputs))  # at most 32 MB of responses
    for first in range(0, len(waves), chunk):
        response = waves[first : first + chunk] @ kernel.reshape(kh * kw, -1)
        response = response.reshape(-1, inputs, outputs)
        gram = response @ response.conj().swapaxes(1, 2)
        largest = max(largest, np.linalg.eigvalsh(gram)[:, -1].max())
    # Entry by entry |response| ≤ Σ_t |K[t]|, so the squared Frobenius norm of that sum bounds the
    # rounding of the responses, of their Gram matrices and of the eigenvalues.
    size = np.square(np.abs(kernel).sum((0, 1))).sum()
    largest += 4 * (kh * kw + inputs + outputs + 10) * EPSILON * size
    return _rescaled(math.sqrt(largest), scale)


def is_norm_at_most(kernel: np.ndarray, grid: Sequence[int], bound: float) -> bool:
    """Decides ``‖A‖ ≤ s  ⇔  s² I − AᵀA ⪰ 0`` by a banded Cholesky factor: True is a proof.

    It takes ``AᵀA`` or ``AAᵀ``, on the side of fewer channels, c.  If the factorisation of a
    symmetric matrix M of bandwidth b succeeds, ``λ_min(M) ≥ −(2b + 1) γ max M_ii`` with
    ``γ ≈ (b + 2) ε/2``: the backward error keeps the band and is at most ``γ √(M_ii M_jj)`` at
    (i, j).  By Cauchy–Schwarz the Gram matrix has such an error too, with ``γ ≈ m ε/2`` for sums
    of m products.  So the matrix that is factored is

        M = s² (1 − δ) I − AᵀA,   δ = (2b + 1) (b + m + 10) ε,

    which leaves a factor of two for terms of higher order.  A False may be wrong if s exceeds the
    norm by less than the fraction δ/2: 10⁻¹⁰ for a small layer, 10⁻⁸ for 256 channels on 8×8.
    The cost is not limited: ``n b²`` operations and ``8 n b`` bytes, where
    ``n = height · width · c`` and b is about ``(kh − 1) · width · c``.

    Args:
        kernel, grid: see `torus_bound`.
        bound: float, s.

    Returns:
        bool; False if the bound is NaN or an entry of the kernel is not finite.

    Raises:
        ValueError: see `torus_bound`.

    Source: Rump 2006, "Verification of positive definiteness", BIT 46.
    """
    kernel, grid, scale = _standard_form(kernel, grid)
    bound, largest = float(bound) / scale, np.abs(kernel).max()
    # Every tap reads a pixel, so no entry exceeds the norm.
    if not (np.isfinite(largest) and largest <= bound):
        return False
    if largest == 0:
        return True
    if kernel.shape[:2] == (1, 1):
        return dense_norm(kernel[0, 0]) <= bound
    bound = min(bound, 2 * np.abs(kernel).sum())  # a proof of a smaller bound is enough
    band = _negative_gram_band(kernel, grid)
    bandwidth, products = len(band) - 1, kernel.size // kernel.shape[2]
    band[0] += bound**2 * (1 - (2 * bandwidth + 1) * (bandwidth + products + 10) * EPSILON)
    try:
        cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False)
    except LinAlgError:
        return False
    return True


@_cached_by_content
def convolution_norm(kernel: np.ndarray, grid: Sequence[int], tolerance: float = 1e-3) -> float:
    """Returns a value with ``‖A‖ ≤ value ≤ (1 + tolerance) ‖A‖``.

    Lanczos iteration estimates the norm from below.  If the torus bound is close to it, that is
    the value; else `is_norm_at_most` narrows the bracket, mostly in one step.  If its factor would
    cost more than 4·10¹¹ operations or 1.5 GB, the value is the torus bound: certified, but
    loose.  Results are cached by the kernel's values, so unchanged weights cost one hash.

    Args:
        kernel, grid: see `torus_bound`.
        tolerance: float, at least 10⁻⁶.

    Returns:
        float; 0 for a zero kernel, ``inf`` if an entry is not finite.

    Raises:
        ValueError: see `torus_bound`; or for a smaller tolerance.
    """
    if not tolerance >= 1e-6:
        raise ValueError(f"The tolerance is at least 1e-6; received {tolerance}.")
    kernel, grid, scale = _standard_form(kernel, grid)
    if not np.isfinite(kernel).all() or not kernel.any():
        return math.inf if kernel.any() else 0.0
    if kernel.shape[:2] == (1, 1):
        return _rescaled(dense_norm(kernel[0, 0]), scale)
    upper = torus_bound(kernel, grid)
    order, bandwidth = math.prod(grid) * kernel.shape[2], _bandwidth(kernel, grid)
    if order * bandwidth**2 <= MAX_FLOPS and 8 * order * bandwidth <= MAX_BYTES:
        lower, step = _lanczos_norm(kernel, grid, tolerance), tolerance / 2
        while upper > (1 + tolerance) * lower:
            candidate = min((1 + step) * lower, math.sqrt(lower * upper))
            if is_norm_at_most(kernel, grid, candidate):
                upper = candidate
            else:
                lower, step = candidate, 2 * step
    return _rescaled(upper, scale)


def _as_float64(kernel):
    return np.asarray(kernel).astype(np.float64, casting="safe", copy=False)


def _rescaled(bound, scale):
    return float(np.nextafter(bound * scale, math.inf)) if bound else 0.0


def _standard_form(kernel, grid):
    """Returns ``(kernel / scale, grid, scale)`` of a convolution of the same norm.

    The entries of the new kernel are below 2 and exact, because the scale is a power of two.  All
    its taps read a pixel, it has no more inputs than outputs, and the grid is turned so that the
    band is narrow.
    """
    kernel, grid = _as_float64(kernel), np.asarray(grid)
    if kernel.ndim != 4 or kernel.size == 0:
        raise ValueError(f"A kernel is [kh, kw, in, out]; received shape {kernel.shape}.")
    if grid.shape != (2,) or grid.dtype.kind not in "iu" or grid.min() < 1:
        raise ValueError(f"A grid is two positive integers (height, width); received {grid}.")
    height, width = grid = tuple(grid.tolist())
    # The cut is symmetric about the central tap, so the padding is still ⌊(k − 1)/2⌋.
    centre = tuple((k - 1) // 2 for k in kernel.shape[:2])
    taps = (slice(max(0, c - n + 1), c + n) for c, n in zip(centre, grid, strict=True))
    kernel = kernel[tuple(taps)]
    # For an image that is turned by 180°, Aᵀ is A with inputs and outputs exchanged.
    if kernel.shape[2] > kernel.shape[3]:
        kernel = kernel.swapaxes(2, 3)
    if _bandwidth(kernel, grid) > _bandwidth(kernel.swapaxes(0, 1), (width, height)):
        kernel, grid = kernel.swapaxes(0, 1), (width, height)
    scale = float(np.ldexp(1.0, np.frexp(np.abs(kernel).max())[1] - 1))
    return kernel / scale, grid, scale


def _bandwidth(kernel, grid):
    """Returns the bandwidth of the Gram matrix, where two pixels interact if a window has both."""
    rows, columns = (min(k, n) - 1 for k, n in zip(kernel.shape[:2], grid, strict=True))
    return (rows * grid[1] + columns + 1) * kernel.shape[2]


def _lanczos_norm(kernel, grid, tolerance):
    """Estimates ``√λ_max(AᵀA)`` from below, by Lanczos iteration from a fixed start."""
    (height, width), (kh, kw, channels, _) = grid, kernel.shape
    matrix = kernel.reshape(kh * kw * channels, -1)
    row, column = (kh - 1) // 2, (kw - 1) // 2
    inside = np.s_[row : row + height, column : column + width]

    def gram(x):
        padded = np.zeros((height + kh - 1, width + kw - 1, channels))
        padded[inside] = x.reshape(height, width, channels)
        slide = np.lib.stride_tricks.sliding_window_view
        windows = slide(padded, (kh, kw), (0, 1))  # type: ignore[call-overload]
        image = windows.transpose(0, 1, 3, 4, 2).reshape(height * width, -1) @ matrix
        windows = (image @ matrix.T).reshape(height, width, kh, kw, channels)
        padded[:] = 0
        for row, column in np.ndindex(kh, kw):
            padded[row : row + height, column : column + width] += windows[:, :, row, column]
        return padded[inside].ravel()

    order = height * width * channels
    operator = LinearOperator((order, order), gram, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(order)
    try:
        largest = eigsh(operator, 1, v0=start, tol=tolerance, return_eigenvectors=False)[0]
    except ArpackError:
        largest = np.abs(kernel).max() ** 2
    return math.sqrt(largest)


def _negative_gram_band(kernel, grid):
    """Returns the lower band of ``−AᵀA`` as LAPACK stores it; channels vary fastest.

    The block for the pixels q and q + d is ``−Σ_t K[t] K[t + d]ᵀ`` over the taps t by which an
    output on the grid sees q: all taps, except near the border.
    """
    (height, width), (kh, kw, channels, _) = grid, kernel.shape
    bandwidth = _bandwidth(kernel, grid)
    band = np.zeros((height, width, channels, bandwidth + 1))  # [pixel, channel, distance]
    for down in range(min(kh, height)):
        for right in range(1 - min(kw, width) if down else 0, min(kw, width)):
            left, right = max(0, -right), max(0, right)
            products = kernel[: kh - down, left : kw - right] @ np.swapaxes(
                kernel[down:, right : kw - left], 2, 3
            )
            rows = _sees(0, height - down, 0, kh - down, height, kh)
            columns = _sees(left, width - right, left, kw - right, width, kw)
            blocks = np.tensordot(rows, products, 1)
            blocks = np.tensordot(columns, blocks, (1, 1)).swapaxes(0, 1)
            distance = down * width + right - left
            # Channels i of q and j of q + d are (distance · channels + j − i) apart.
            view = np.lib.stride_tricks.as_strided(
                band[:, left:, :, distance * channels :],
                blocks.shape,
                (*band.strides[:2], band.strides[2] - band.itemsize, band.itemsize),
            )
            view -= blocks if distance else np.triu(blocks)
    return band.reshape(-1, bandwidth + 1).T


def _sees(first_pixel, last_pixel, first_tap, last_tap, size, taps):
    """Returns 1 where the output that sees the pixel by the tap lies on the grid, else 0."""
    pixel, tap = np.arange(first_pixel, last_pixel)[:, None], np.arange(first_tap, last_tap)
    output = pixel - tap + (taps - 1) // 2
    return 1.0 * ((0 <= output) & (output < size))
