"""Compares bias and noise of the power series with closed forms and with draws."""

import numpy as np
import pytest
import tensorflow as tf
from study_examples import POINTS, image_model, images, linear_model

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.analysis import (
    log_det_study,
)
from iresnet_tf.analysis.block_inputs import block_inputs
from iresnet_tf.analysis.copies import copied
from iresnet_tf.layers.blocks import estimator_replaced
from iresnet_tf.models import architectures


def test_bias_and_noise_are_those_of_a_linear_map():
    # J = c P with P² = I: log|det(I + J)| = ln(1 − c²), tr Jᵏ = 2 cᵏ for even k, else 0.
    c = 0.75
    study = irn.analysis.study_log_det(linear_model([[0.0, c], [c, 0.0]]), POINTS)
    assert study.log_det == pytest.approx(np.log(1.0 - c**2) / 2.0, rel=1e-6)
    for row in study.estimates:
        n = row.terms
        series = -sum(2.0 * c**k / k for k in range(2, n + 1, 2))
        bias = (series - np.log(1.0 - c**2)) / 2.0
        # vᵀ P v is 2 or −2 with equal probability, and vᵀ v always 2.
        odd = sum(c**k / k for k in range(1, n + 1, 2))
        assert row.bias == pytest.approx(bias, abs=1e-7)
        assert row.max_abs_bias == pytest.approx(bias, abs=1e-7)
        assert row.bias_bits_per_dim == pytest.approx(bias / np.log(2.0), abs=1e-7)
        assert row.noise == pytest.approx(odd / np.sqrt(row.probes), rel=1e-6)
        tail = -np.log(1.0 - c) - sum(c**k / k for k in range(1, n + 1))
        assert row.truncation_bound == pytest.approx(tail, rel=1e-5)


@pytest.mark.parametrize("grid", [(8, 8), (16, 20)])
def test_bias_and_noise_are_those_of_the_estimator(grid, monkeypatch):
    monkeypatch.setattr(log_det_study, "TERMS", (3,))
    model, x, draws = image_model(grid), images(3, grid), 150
    study = irn.analysis.study_log_det(model, x)
    assert study.dimension == 64 and study.cropped == (grid != (8, 8))
    flow = model.flow
    if study.cropped:
        x, flow = x[:, 4:12, 6:14], copied(flow, (8, 8, 1))
    x = flow.parts[0].add_noise(x, 0)
    with estimator_replaced(flow, irn.log_det.Exact()):
        exact = flow.forward_and_log_det(x, seed=0)[1].numpy().astype(np.float64)
    for row in study.estimates:
        if row.probes == 5:
            with estimator_replaced(flow, irn.log_det.PowerSeries(row.terms, 5)):
                drawn = [flow.forward_and_log_det(x, seed=[9, k])[1].numpy() for k in range(draws)]
            error = (np.stack(drawn) - exact) / 64
            noise = np.sqrt(error.var(0, ddof=1).mean())
            assert row.noise == pytest.approx(noise, rel=0.12)
            assert abs(row.bias - error.mean()) < 5.0 * noise / np.sqrt(draws * len(x))
            assert row.max_abs_bias <= row.truncation_bound


def test_blocks_receive_what_passes_the_layers_before_them():
    model, x = image_model(), images()
    flow, total = model.flow, 0.0
    with estimator_replaced(flow, irn.log_det.Exact()):
        expected = flow.forward_and_log_det(x, seed=0)[1] - 64 * -np.log(16.0)
        for block, inputs in block_inputs(flow, tf.constant(x)):
            total += block.forward_and_log_det(inputs, seed=0)[1]
    assert [block for block, _ in block_inputs(flow, tf.constant(x))] == layers.residual_blocks(
        flow
    )
    # ActNorms are identities before they are initialised.
    np.testing.assert_allclose(total, expected, atol=1e-3)


def test_a_flow_that_cannot_be_moved_to_crops_says_so():
    model = irn.models.DensityModel(architectures.vector_flow(1, 8, 1))
    model.build((None, 300))
    with pytest.raises(ValueError, match="cannot be moved to crops"):
        irn.analysis.study_log_det(model, np.zeros((2, 300), np.float32))


def test_dense_blocks_are_left_out_of_the_crops(monkeypatch):
    monkeypatch.setattr(log_det_study, "TERMS", (1, 2))
    grid = (16, 20)
    study = irn.analysis.study_log_det(image_model(grid, dense_blocks=1), images(2, grid))
    # This flow draws equal kernels in the same order, but has no dense block.
    alone = irn.analysis.study_log_det(image_model(grid), images(2, grid))
    assert (study.blocks, study.blocks_left_out) == (2, 1)
    assert (alone.blocks, alone.blocks_left_out) == (2, 0)
    assert study.log_det == pytest.approx(alone.log_det, abs=1e-5)


def test_a_copy_on_another_grid_has_the_same_kernels():
    model = image_model((12, 16))
    copy = copied(model.flow, (8, 8, 1))
    for one, other in zip(layers.spectral_layers(copy), layers.spectral_layers(model), strict=True):
        np.testing.assert_array_equal(one.kernel, other.kernel)
        assert not one.is_stale(1e-5)
    assert copy(images()).shape == (4, 64)
