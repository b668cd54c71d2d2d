"""The error of the inverse, against closed forms."""

import json

import numpy as np
import pytest
from study_examples import POINTS, image_model, images, linear_model

import iresnet_tf as irn
from iresnet_tf import layers
from iresnet_tf.analysis import (
    inverse_study,
    plots,
)


def test_the_error_of_a_scaled_rotation_falls_by_its_coefficient(monkeypatch):
    # g = c Q with orthogonal Q: x_k − x = (−g)ᵏ (y − x), and y − x = g(x).
    monkeypatch.setattr(inverse_study, "ITERATIONS", (1, 2, 5, 9))
    c = 0.8
    study = irn.analysis.study_inverse(linear_model([[0.0, -c], [c, 0.0]]), POINTS)
    size = np.linalg.norm(POINTS, axis=1)
    curves = {curve.name: curve.error for curve in study.curves}
    for name, rate in {"trained, Picard": c, "c = 0.5": 0.5, "c = 0.97": 0.97}.items():
        expected = [rate**n * np.median(size) for n in (1, 2, 5, 9)]
        np.testing.assert_allclose(curves[name], expected, rtol=1e-3)
    # At norm 2 every step makes it twice as large: the first iterate remains the best.
    assert curves["no constraint (norm 2)"][-1] == pytest.approx(2.0 * np.median(size), rel=1e-3)
    picard = study.block.curves[0]
    np.testing.assert_allclose(picard.error, [c**n * size.max() for n in (1, 2, 5, 9)], rtol=1e-3)
    # The residual at x_k is (I + g)(x_k − x), of norm √(1 + c²) times the error.
    bound = np.array(picard.error) * np.sqrt(1.0 + c**2) / (1.0 - c)
    np.testing.assert_allclose(picard.error_bound, bound, rtol=1e-2)


def test_the_inverse_of_a_flow_converges_with_the_constraint(monkeypatch):
    monkeypatch.setattr(inverse_study, "ITERATIONS", (2, 50))
    study = irn.analysis.study_inverse(image_model(), images())
    error = {curve.name: curve.error for curve in study.curves}
    for name in ("trained, Picard", "trained, Anderson", "c = 0.5", "c = 0.9"):
        assert error[name][-1] < 1e-3 < error[name][0]
    for curve in study.block.curves:
        assert np.all(np.array(curve.error) <= curve.error_bound)
    assert len(plots.inverse(study).axes) == 2


def test_what_overflows_is_none_in_the_numbers(monkeypatch):
    monkeypatch.setattr(inverse_study, "ITERATIONS", (1, 3))
    monkeypatch.setattr(inverse_study, "UNCONSTRAINED", 100.0)
    study = irn.analysis.study_inverse(linear_model([[0.5, 0.0], [0.0, 0.5]]), 1e37 * POINTS)
    assert not np.isfinite(study.curves[-1].error).any()
    numbers = study.as_dict()
    assert numbers["curves"][-1]["error"] == [None, None]
    json.dumps(numbers, allow_nan=False)


def test_a_study_leaves_the_model_alone(monkeypatch):
    monkeypatch.setattr(inverse_study, "ITERATIONS", (2,))
    model, x = image_model(), images()
    before = [weight.numpy() for weight in model.weights]
    solvers = [block.solver for block in layers.residual_blocks(model.flow)]
    irn.analysis.study_inverse(model, x)
    irn.analysis.study_log_det(model, x)
    for one, other in zip(before, model.weights):
        np.testing.assert_array_equal(one, other)
    assert {layer.coeff for layer in layers.spectral_layers(model)} == {0.9}
    assert [block.solver for block in layers.residual_blocks(model.flow)] == solvers
