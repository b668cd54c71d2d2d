"""The residual block: its seeds, shared branches, the norms of its branch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from every_layer_examples import normal

from iresnet_tf import layers, log_det

VECTOR = (6,)


def test_seed_decides_and_no_seed_draws_afresh():
    g = layers.Contraction.mlp((8,))
    block = layers.ResidualBlock(g, log_det=log_det.PowerSeries(3))
    x = normal(3, 6)
    block.build(x.shape)
    one, same = (block.forward_and_log_det(x, seed=4)[1].numpy() for _ in range(2))
    np.testing.assert_array_equal(one, same)
    traced = tf.function(lambda: block.forward_and_log_det(x)[1])
    draws = [block.forward_and_log_det(x)[1], traced(), traced(), block.forward_and_log_det(x)[1]]
    assert len({each.numpy().tobytes() for each in draws}) == 4


def test_blocks_that_share_one_g_share_it_after_loading(tmp_path):
    g = layers.Contraction.mlp((8,), coeff=0.9)
    model = keras.Sequential(
        [keras.Input(VECTOR), layers.ResidualBlock(g), layers.ResidualBlock(g)]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    first, second = loaded.layers[-2:]
    assert first.g is second.g
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    x = normal(3, 6)
    np.testing.assert_array_equal(loaded(x), model(x))


# Norms of nested layers


def jacobian_at_zero(g, n):
    zero = np.asarray(g(np.zeros((1, n))))
    return (np.asarray(g(np.eye(n))) - zero).T


def row_of_fives(n):
    kernel = np.zeros((n, n))
    kernel[0] = 5.0
    return kernel


def test_a_nested_contraction_is_certified_in_the_norms_that_it_is_handed():
    """The last layer amplifies more from ‖·‖_∞ to ‖·‖₂ than it does in ‖·‖₂."""
    n = 16
    inner = layers.Contraction([layers.SpectralDense(n, p=np.inf, coeff=0.95, dtype="float64")])
    last = layers.SpectralDense(coeff=0.95, dtype="float64")
    block = layers.ResidualBlock(layers.Contraction([inner, last]))
    block.build((None, n))
    inner.parts[0].kernel.assign(row_of_fives(n))
    kernel = np.zeros((n, n))
    kernel[:, 0] = -1.0
    last.kernel.assign(kernel)
    layers.refresh(block)
    assert inner.parts[0].input_exponent == last.output_exponent
    assert last.input_exponent == inner.output_exponent
    assert block.lipschitz_bound() >= np.linalg.norm(jacobian_at_zero(block.g, n), 2)


def test_the_norm_of_a_nested_contraction_reaches_the_bound_of_the_inverse():
    n = 16
    inner = layers.Contraction([layers.SpectralDense(n, p=np.inf, coeff=0.95, dtype="float64")])
    block = layers.ResidualBlock(layers.Contraction([inner]))
    block.build((None, n))
    inner.parts[0].kernel.assign(-row_of_fives(n))
    layers.refresh(block)
    inverse = np.linalg.inv(np.eye(n) + jacobian_at_zero(block.g, n))
    assert block.inverse_lipschitz_bound() >= np.linalg.norm(inverse, 2)


def test_a_dense_concatenation_refuses_other_norms_than_2():
    inner = layers.SpectralDense(4, p=np.inf)
    for joined in ([inner], [layers.Contraction([inner])]):
        g = layers.Contraction([layers.DenseConcatenation(joined), layers.SpectralDense()])
        with pytest.raises(ValueError, match=r"2-norm alone.*exponent inf.*p=2"):
            g.build((None, 4))


def test_a_layer_shared_by_contractions_of_other_norms_is_refused():
    shared = layers.SpectralDense(4, p=1)
    first = layers.Contraction([shared, layers.SpectralDense(p=2)])
    first.build((None, 4))
    assert first.lipschitz_bound() > 0.0
    second = layers.Contraction([shared, layers.SpectralDense(p=1)])
    second.build((None, 4))
    assert second.lipschitz_bound() > 0.0
    for use in (first.bind, first.lipschitz_bound, lambda: first(np.ones((1, 4)))):
        with pytest.raises(ValueError, match=f"{shared.name} is shared.*exponents, 2 and 1"):
            use()


def test_layers_of_the_2_norm_may_be_shared():
    shared = layers.SpectralDense(4)
    contractions = [layers.Contraction([shared, layers.SpectralDense()]) for _ in range(2)]
    for g in contractions:
        g.build((None, 4))
    assert all(0.0 < g.lipschitz_bound() <= 0.82 for g in contractions)


def test_a_layer_that_is_built_takes_vectors_of_the_norm_that_it_is_handed():
    layer = layers.SpectralDense(4, p=np.inf, dtype="float64")
    layer.build((None, 4))
    layer.kernel.assign(normal(4, 4, seed=3))
    layers.Contraction([layer, layers.SpectralDense(p=2, dtype="float64")]).build((None, 4))
    # ‖A‖_{2→∞} is the largest column of the kernel.
    expected = np.linalg.norm(layer.kernel.numpy(), axis=0).max()
    np.testing.assert_allclose(layer.spectral_norm(), expected, rtol=1e-12)
    u, v = layer.left_vector.numpy(), layer.right_vector.numpy()
    np.testing.assert_allclose((u * (v @ layer.kernel.numpy())).sum(), expected, rtol=1e-6)


def test_a_bound_of_a_block_that_is_not_built_is_an_error():
    block = layers.ResidualBlock(layers.Contraction.mlp((4,)))
    for bound in (block.lipschitz_bound, block.lipschitz_bound_or_inf):
        with pytest.raises(ValueError, match="has no kernel yet"):
            bound()
