"""Tests the certified norms of spectral layers."""

import numpy as np
import pytest
import tensorflow as tf
from spectral_examples import COEFF, built, normal, true_norm

from iresnet_tf import layers


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_certificate_is_of_the_weights_as_they_are_now(matrix_of, kind):
    layer = built(kind)
    layer.kernel.assign(0.1 * layer.kernel.value)
    layer.refresh()
    small = layer.lipschitz_bound()
    layer.kernel.assign(3.0 * layer.kernel.value)
    assert layer.lipschitz_bound() == pytest.approx(3 * small, rel=1e-5)
    # With stale vectors the constraint divides by too little, and the certificate shows it.
    layer.kernel.assign(50.0 * normal(*layer.kernel.shape, seed=5))
    norm = true_norm(matrix_of, layer)
    assert norm > COEFF
    assert norm * (1 - 1e-12) <= layer.lipschitz_bound() <= norm * 1.02


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_certificate_inside_a_function(kind):
    layer = built(kind)
    bound = tf.function(layer.lipschitz_bound)
    assert bound().dtype == tf.float64 and bound().shape == ()
    # The applied kernel is rounded to float32.
    assert float(bound()) == pytest.approx(layer.lipschitz_bound(), rel=1e-6)
    layer.kernel.assign(0.5 * layer.kernel.value)
    assert float(bound()) == pytest.approx(layer.lipschitz_bound(), rel=1e-6)


def test_certificate_of_a_contraction_is_the_product():
    g = layers.Contraction.mlp((8, 8), activation="sigmoid", coeff=0.9)
    g.build((None, 3))
    layers_bounds = [part.lipschitz_bound() for part in g.parts]
    assert g.lipschitz_bound() == pytest.approx(np.prod(layers_bounds))
    assert g.lipschitz_target() == pytest.approx(0.9**3 / 16)
    inside = tf.function(g.lipschitz_bound)()
    assert float(inside) == pytest.approx(g.lipschitz_bound(), rel=1e-6)


def test_certificate_bounds_every_jacobian(contraction, batch_for, jacobian_of):
    for kind in ("dense", "conv"):
        for activation in ("relu", "lipswish", "clipswish", "maxmin"):
            g = contraction(kind, activation)
            norms = np.linalg.norm(jacobian_of(g, 3.0 * batch_for(kind, 20)).numpy(), 2, (1, 2))
            assert norms.max() <= g.lipschitz_bound() <= 0.9**3 * 1.02**3
