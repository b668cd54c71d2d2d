"""Tests the errors of spectral layers."""

import pytest
from spectral_examples import built, normal

from iresnet_tf import layers


@pytest.mark.parametrize("make", [layers.SpectralDense, layers.SpectralConv2D])
def test_wrong_options_are_named(make):
    for coeff in (0.0, -0.5, 1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="coeff bounds the layer's operator norm.*received"):
            make(3, coeff=coeff)
    with pytest.raises(ValueError, match="is at least 1; received 0"):
        make(0)
    with pytest.raises(ValueError, match="power_iterations is at least 1; received 0"):
        make(3, power_iterations=0)


@pytest.mark.parametrize("kernel_size", [0, (3, 0), (3,), (3, 3, 3)])
def test_wrong_kernel_sizes_are_named(kernel_size):
    with pytest.raises(ValueError, match="kernel_size is a positive integer or a pair"):
        layers.SpectralConv2D(3, kernel_size)


@pytest.mark.parametrize("shape", [(None, 4), (None, None, 4, 3), (None, 4, None, 3)])
def test_convolution_needs_a_known_grid(shape):
    with pytest.raises(ValueError, match="known height and width.*received shape"):
        layers.SpectralConv2D(3).build(shape)


def test_convolution_is_not_applied_on_another_grid():
    """On another grid the norm differs."""
    layer = built("conv")
    with pytest.raises(ValueError, match="6, 5, 3.*8, 8, 3"):
        layer(normal(2, 8, 8, 3))
    with pytest.raises(ValueError, match="6, 5, 3"):
        layer(normal(2, 6, 5, 2))


def test_dense_is_not_applied_to_other_features():
    layer = built("dense")
    assert layer(normal(2, 7, 3)).shape == (2, 7, 4)
    with pytest.raises(ValueError, match="3"):
        layer(normal(2, 5))


@pytest.mark.parametrize("make", [layers.SpectralDense, layers.SpectralConv2D])
def test_unknown_channels_are_named(make):
    with pytest.raises(ValueError, match="number of input channels"):
        make(3).build((None, 4, 4, None))
    with pytest.raises(ValueError, match="set it, or make the layer the last one of a Contraction"):
        make().build((None, 4, 4, 2))
