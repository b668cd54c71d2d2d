"""Norms, certificates and gradients of kernels whose squares under- or overflow."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers

SIZES = [1e-30, 1e-12, 1e9, 1e19, 1e30]
GRID = (4, 3)


def layer_of(kind, coeff=0.9, p=2, dtype="float32"):
    options = {"coeff": coeff, "p": p, "use_bias": False, "dtype": dtype}
    if kind == "dense":
        layer = layers.SpectralDense(5, **options)
        layer.build((None, 7))
    else:
        layer = layers.SpectralConv2D(5, 3, **options)
        layer.build((None, *GRID, 2))
    return layer


def kernel_of(layer, size):
    rng = np.random.default_rng(0)
    return (size * rng.standard_normal(layer.kernel.shape)).astype(layer.dtype)


def matrix(kernel, matrix_of):
    """Returns the matrix ``[out, in]`` of a kernel, in float64."""
    kernel = tf.cast(kernel, tf.float64)
    if len(kernel.shape) == 2:
        return kernel.numpy().T
    return matrix_of(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), (*GRID, kernel.shape[2]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_spectral_norms_do_not_depend_on_the_size_of_the_kernel(kind, size, matrix_of):
    layer = layer_of(kind)
    layer.kernel.assign(kernel_of(layer, size))
    truth = np.linalg.svd(matrix(layer.kernel, matrix_of), compute_uv=False)[0]
    for refine in (layer.refresh, lambda: [layer.update_vectors(layer.kernel) for _ in range(60)]):
        layer.right_vector.assign(np.ones(layer.right_vector.shape))
        refine()
        assert float(layer.spectral_norm()) == pytest.approx(truth, rel=2e-3)
    layer.refresh()
    assert not layer.is_stale()
    applied = np.linalg.svd(matrix(layer.constrained_kernel(), matrix_of), compute_uv=False)[0]
    assert applied == pytest.approx(min(truth, 0.9), rel=2e-4)
    assert applied <= layer.lipschitz_bound() <= applied * (1.0 + 1e-3) + 1e-37


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("p", [1, 2.5, np.inf])
def test_induced_norms_do_not_depend_on_the_size_of_the_kernel(kind, p, size):
    small, layer = layer_of(kind, p=p), layer_of(kind, p=p)
    small.kernel.assign(kernel_of(layer, 1.0))
    layer.kernel.assign(kernel_of(layer, size))
    for each in (small, layer):
        each.refresh()
    assert float(layer.spectral_norm()) / size == pytest.approx(
        float(small.spectral_norm()), rel=1e-4
    )
    if p != 2.5 and kind == "dense":
        axis = 1 if p == 1 else 0
        truth = np.abs(layer.kernel.numpy().astype(np.float64)).sum(axis).max()
        assert float(layer.spectral_norm()) == pytest.approx(truth, rel=1e-5)
    if size > 1.0:
        bounds = layer.lipschitz_bound(), small.lipschitz_bound()
        assert bounds[0] == pytest.approx(bounds[1], rel=1e-4)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, np.inf])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_zero_kernels_stay_zero_and_keep_a_direction(kind, p):
    layer = layer_of(kind, p=p)
    layer.kernel.assign(tf.zeros_like(layer.kernel))
    for update in (layer.refresh, lambda: layer.update_vectors(layer.kernel)):
        update()
        assert float(tf.norm(layer.right_vector)) > 0.0
        assert float(layer.spectral_norm()) == layer.lipschitz_bound() == 0.0
        with tf.GradientTape() as tape:
            applied = layer.constrained_kernel()
        np.testing.assert_array_equal(applied, 0.0)
        np.testing.assert_array_equal(tape.gradient(applied, layer.kernel.value), 1.0)


@pytest.mark.parametrize("size", [1e9, 1e30])
def test_the_gradient_of_a_large_kernel_is_that_of_a_small_one_over_its_size(size):
    """``K̂`` does not depend on the size of ``K``, so its gradient is orthogonal to ``K``."""
    gradients = []
    for each in (1.0, size):
        layer = layer_of("dense")
        layer.kernel.assign(kernel_of(layer, each))
        layer.refresh()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(
                layer.constrained_kernel() * np.linspace(0.0, 1.0, 35).reshape(7, 5)
            )
        gradients.append(each * tape.gradient(loss, layer.kernel.value).numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)
    assert abs(np.sum(gradients[0] * kernel_of(layer, 1.0))) < 1e-4


def test_an_unknown_norm_times_that_of_a_zero_kernel_is_unknown():
    """``‖A‖_{p→q}`` with ``q < p`` is not certified, and ``∞ · 0`` is no number."""
    g = layers.Contraction.mlp((4,), "relu", p=[3, 1.5])
    g.build((None, 3))
    g.parts[0].kernel.assign(tf.zeros([3, 4]))
    assert g.lipschitz_bound() == np.inf
    assert float(tf.function(g.lipschitz_bound)()) == np.inf
