"""The certified norms against the singular values of the operator written out as a matrix."""

import math
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate2d

from iresnet_tf.numerics.norms import norm_bounds
from iresnet_tf.numerics.norms.norm_bounds import (
    convolution_norm,
    dense_norm,
    is_norm_at_most,
    torus_bound,
)

# Grid; height, width, inputs and outputs of the kernel.
CASES = [
    ((4, 4), (3, 3, 3, 5)),
    ((4, 4), (5, 5, 2, 2)),
    ((5, 5), (1, 1, 4, 7)),
    ((6, 6), (3, 3, 5, 2)),
    ((8, 8), (2, 2, 3, 3)),
    ((8, 8), (3, 5, 1, 4)),
    ((7, 12), (3, 5, 2, 3)),
    ((12, 7), (2, 4, 3, 2)),
    ((1, 9), (3, 3, 2, 2)),
    ((2, 3), (5, 6, 2, 1)),
    ((1, 1), (3, 2, 3, 2)),
    ((16, 16), (3, 3, 2, 2)),
    ((32, 10), (3, 3, 1, 2)),
    ((32, 32), (3, 3, 1, 1)),
]
KINDS = ["random", "bump", "box"]
ROUNDING = 1e-12  # of the singular values that the bounds are compared with


def kernel_of(kind, shape):
    random = np.random.default_rng(sum(shape)).standard_normal(shape)
    if kind == "random":
        return random
    if kind == "box":
        return np.ones(shape)
    rows, columns = (np.exp(-((np.arange(k) - (k - 1) / 2) ** 2)) for k in shape[:2])
    return np.outer(rows, columns)[:, :, None, None] * (1 + 0.1 * random)


def matrix_of(kernel, grid):
    """Returns the zero-padded convolution as a matrix, column by column from unit images."""
    kh, kw, inputs, outputs = kernel.shape
    height, width = grid
    # Selects the outputs of the full correlation whose window starts (k − 1)//2 before the pixel.
    row, column = kh - 1 - (kh - 1) // 2, kw - 1 - (kw - 1) // 2
    matrix = np.zeros((height, width, outputs, height, width, inputs))
    for pixel in np.ndindex(height, width):
        image = np.zeros(grid)
        image[pixel] = 1
        for i, o in np.ndindex(inputs, outputs):
            full = correlate2d(image, kernel[:, :, i, o], mode="full")
            seen = full[row : row + height, column : column + width]
            matrix[(slice(None), slice(None), o, *pixel, i)] = seen
    return matrix.reshape(height * width * outputs, height * width * inputs)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def truths(request):
    """Returns (kernel, grid, norm) for each kind of kernel."""
    grid, shape = request.param
    kernels = [kernel_of(kind, shape) for kind in KINDS]
    return [(kernel, grid, np.linalg.norm(matrix_of(kernel, grid), 2)) for kernel in kernels]


def test_convolution_norm_is_an_upper_bound_within_the_tolerance(truths):
    for kernel, grid, norm in truths:
        assert norm * (1 - ROUNDING) <= convolution_norm(kernel, grid) <= norm * 1.001
        fine = convolution_norm(kernel, grid, tolerance=1e-6)
        assert norm * (1 - ROUNDING) <= fine <= norm * (1 + 1.1e-6)


def test_torus_bound_is_an_upper_bound(truths):
    for kernel, grid, norm in truths:
        assert torus_bound(kernel, grid) >= norm * (1 - ROUNDING)


def test_is_norm_at_most_decides_on_either_side_of_the_norm(truths):
    for kernel, grid, norm in truths:
        for gap in (5e-4, 1e-7):
            assert is_norm_at_most(kernel, grid, norm * (1 + gap))
            assert not is_norm_at_most(kernel, grid, norm * (1 - gap))
        assert not is_norm_at_most(kernel, grid, norm * (1 - 1e-11))


@pytest.mark.parametrize("grid,channels", [((16, 12), (6, 40)), ((8, 8), (24, 24))])
def test_the_adjoint_has_the_same_norm(grid, channels):
    kernel = kernel_of("random", (3, 3, *channels))
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    assert convolution_norm(flipped, grid, 1e-5) == pytest.approx(
        convolution_norm(kernel, grid, 1e-5), rel=1e-5
    )


def test_torus_bound_is_the_norm_of_the_circular_convolution():
    kernel, grid = kernel_of("random", (3, 2, 3, 4)), (5, 4)
    height, width = 7, 5
    circular = np.zeros((height, width, 4, height, width, 3))
    for p, q, s, t in np.ndindex(height, width, 3, 2):
        circular[p, q, :, (p + s) % height, (q + t) % width, :] += kernel[s, t].T
    norm = np.linalg.norm(circular.reshape(height * width * 4, -1), 2)
    assert torus_bound(kernel, grid) == pytest.approx(norm, rel=1e-10)


@pytest.mark.parametrize("size", [(2, 2), (3, 3), (4, 2), (3, 5), (6, 1)])
def test_the_operator_is_that_of_tensorflow(size):
    kernel, grid = kernel_of("random", (*size, 2, 3)), (4, 5)
    images = tf.reshape(tf.eye(40, dtype=tf.float64), [40, 4, 5, 2])
    outputs = tf.nn.conv2d(images, kernel, strides=1, padding="SAME")
    columns = tf.reshape(outputs, [40, 60]).numpy()
    np.testing.assert_allclose(matrix_of(kernel, grid), columns.T, atol=1e-14)
    norm = np.linalg.norm(columns, 2)
    assert norm * (1 - ROUNDING) <= convolution_norm(kernel, grid) <= norm * 1.001


def test_convolution_with_one_by_one_kernel_is_its_matrix():
    kernel = kernel_of("random", (1, 1, 6, 9))
    assert convolution_norm(kernel, (8, 8)) == pytest.approx(dense_norm(kernel[0, 0]), rel=1e-15)


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (3, 40), (40, 3)])
def test_dense_norm_exceeds_a_constructed_norm_by_little(shape):
    rng = np.random.default_rng(0)
    rank = min(shape)
    left, right = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in shape)
    matrix = left @ np.diag(np.linspace(3, 1, rank)) @ right.T
    assert 3 <= dense_norm(matrix) <= 3 * (1 + 2e-12)


@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e30, 1e300])
def test_norms_scale_with_the_kernel_beyond_the_range_of_its_square(factor):
    kernel, grid = kernel_of("bump", (3, 3, 2, 2)), (4, 4)
    norm = convolution_norm(kernel, grid)
    assert convolution_norm(factor * kernel, grid) == pytest.approx(factor * norm, rel=1e-3)
    assert torus_bound(factor * kernel, grid) == pytest.approx(
        factor * torus_bound(kernel, grid), rel=1e-9
    )
    assert is_norm_at_most(factor * kernel, grid, factor * norm * 1.001)
    assert not is_norm_at_most(factor * kernel, grid, factor * norm * 0.998)


def test_low_precision_kernels_are_measured_in_float64():
    kernel = tf.cast(kernel_of("random", (3, 3, 2, 3)), tf.bfloat16).numpy()
    norm = np.linalg.norm(matrix_of(kernel.astype(np.float64), (5, 5)), 2)
    value = convolution_norm(kernel, (5, 5), tolerance=1e-6)
    assert norm * (1 - ROUNDING) <= value <= norm * (1 + 1.1e-6)


def test_zero_kernel_has_norm_zero():
    kernel = np.zeros((3, 3, 2, 4), np.float32)
    assert convolution_norm(kernel, (6, 6)) == torus_bound(kernel, (6, 6)) == 0.0
    assert dense_norm(kernel[0, 0]) == 0.0
    assert is_norm_at_most(kernel, (6, 6), 0.0) and is_norm_at_most(kernel, (6, 6), 1.0)
    assert not is_norm_at_most(kernel, (6, 6), -1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_kernel_that_is_not_finite_has_no_bound(value):
    kernel = np.ones((3, 3, 2, 2))
    kernel[1, 1, 0, 1] = value
    assert convolution_norm(kernel, (4, 4)) == torus_bound(kernel, (4, 4)) == math.inf
    assert dense_norm(kernel[1, 1]) == math.inf
    assert not is_norm_at_most(kernel, (4, 4), math.inf)


def test_every_finite_kernel_is_below_infinity_and_none_below_nan():
    kernel = kernel_of("random", (3, 3, 2, 2))
    assert is_norm_at_most(kernel, (4, 4), math.inf)
    assert not is_norm_at_most(kernel, (4, 4), math.nan)


def test_a_change_in_place_gives_a_new_figure():
    kernel = kernel_of("random", (3, 3, 2, 2))
    first = convolution_norm(kernel, (6, 6))
    kernel *= 2
    assert convolution_norm(kernel, (6, 6)) == pytest.approx(2 * first, rel=1e-9)
    matrix = np.eye(3)
    assert dense_norm(matrix) == pytest.approx(1)
    matrix[0, 0] = 5
    assert dense_norm(matrix) == pytest.approx(5)


def test_unchanged_weights_are_not_measured_again(monkeypatch):
    kernel = kernel_of("random", (3, 3, 2, 5))
    first = convolution_norm(kernel, (6, 6))
    monkeypatch.setattr(norm_bounds, "_standard_form", None)  # any computation would fail
    assert convolution_norm(kernel.copy(), (6, 6)) == first
    with pytest.raises(TypeError):
        convolution_norm(kernel, (6, 7))
    with pytest.raises(TypeError):
        convolution_norm(kernel, (6, 6), tolerance=1e-4)


def test_the_torus_bound_stands_in_where_the_factor_costs_too_much(monkeypatch):
    kernel = kernel_of("bump", (3, 3, 3, 2))
    monkeypatch.setattr(norm_bounds, "MAX_FLOPS", 0)
    assert convolution_norm(kernel, (6, 6)) == pytest.approx(torus_bound(kernel, (6, 6)), rel=1e-12)


@pytest.mark.parametrize("shape,grid", [((3, 3, 512, 12), (16, 16)), ((3, 3, 64, 64), (32, 32))])
def test_torus_bound_needs_little_memory(shape, grid):
    kernel = kernel_of("random", shape)
    tracemalloc.start()
    torus_bound(kernel, grid)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 250e6


@pytest.mark.parametrize("bound", [torus_bound, convolution_norm])
def test_wrong_arguments_are_named(bound):
    kernel = np.ones((3, 3, 2, 2))
    with pytest.raises(ValueError, match=r"kernel is \[kh, kw, in, out\].*\(3, 3, 2\)"):
        bound(kernel[..., 0], (4, 4))
    for grid in [(4,), (4, 0), (4, 4, 2), 4, None, (4.5, 4)]:
        with pytest.raises(ValueError, match="grid is two positive integers"):
            bound(kernel, grid)
    with pytest.raises(TypeError):
        bound(kernel.astype(complex), (4, 4))


def test_wrong_matrix_and_tolerance_are_named():
    with pytest.raises(ValueError, match=r"matrix \[m, n\].*\(3,\)"):
        dense_norm(np.ones(3))
    with pytest.raises(ValueError, match="tolerance"):
        convolution_norm(np.ones((3, 3, 1, 1)), (4, 4), tolerance=0)
    with pytest.raises(ValueError, match="grid"):
        is_norm_at_most(np.ones((3, 3, 1, 1)), (4,), 1.0)
