"""Whiten, against covariances and matrices that NumPy computes."""

import keras
import numpy as np
import pytest

from iresnet_tf import layers, models

RNG = np.random.default_rng(0)
MIXING = {
    "vector": (RNG.normal(size=(4, 4)),),
    "image": tuple(RNG.normal(size=(n, n)) for n in (3, 4, 2)),
}


def correlated(kind, batch=4000, seed=0):
    """Draws samples whose covariance is a Kronecker product, with a mean that is not zero."""
    factors = MIXING[kind]
    x = np.random.default_rng(seed).normal(size=(batch, *(len(each) for each in factors)))
    for axis, factor in enumerate(factors, 1):
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ factor, -1, axis)
    return 3.0 + x


def whitened(kind, dtype="float64", **options):
    x = correlated(kind, **options)
    layer = layers.Whiten(dtype=dtype)
    layer.initialize(x)
    return layer, x


def matrix_of(layer):
    """Returns the matrix of the map from its weights, float64."""
    basis = np.ones((1, 1))
    for factor in layer.factors:
        basis = np.kron(basis, factor.numpy().astype("float64"))
    return basis * np.exp(layer.log_scale.numpy().astype("float64").ravel()) @ basis.T


def test_vectors_get_the_inverse_square_root_of_their_covariance():
    layer, x = whitened("vector")
    covariance = np.cov(x, rowvar=False, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    wanted = (x - x.mean(0)) @ (vectors / np.sqrt(values) @ vectors.T)
    np.testing.assert_allclose(layer(x), wanted, atol=1e-9)
    _, log_det = layer.forward_and_log_det(x)
    np.testing.assert_allclose(log_det, -0.5 * np.linalg.slogdet(covariance)[1], rtol=1e-10)


def test_images_of_a_separable_covariance_become_white():
    """An estimate of a covariance of 24 coordinates from 40,000 samples is off by about 0.005."""
    layer, _ = whitened("image", batch=40_000)
    fresh = np.asarray(layer(correlated("image", batch=40_000, seed=1))).reshape(40_000, -1)
    np.testing.assert_allclose(np.cov(fresh, rowvar=False), np.eye(24), atol=0.05)
    np.testing.assert_allclose(fresh.mean(0), 0.0, atol=0.05)


@pytest.mark.parametrize("kind", MIXING)
def test_the_map_and_its_log_determinant_are_those_of_the_matrix(kind):
    layer, x = whitened(kind)
    matrix = matrix_of(layer)
    flat = (x + layer.bias.numpy()).reshape(len(x), -1)
    y, log_det = layer.forward_and_log_det(x)
    np.testing.assert_allclose(np.reshape(y, flat.shape), flat @ matrix.T, atol=1e-9)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", MIXING)
def test_the_bound_on_the_inverse_covers_the_rounding_of_the_factors(kind, dtype):
    """`matrix_of` multiplies by a transpose, as the map does, so its factors are as stored."""
    layer, _ = whitened(kind, dtype)
    norm = np.linalg.norm(np.linalg.inv(matrix_of(layer)), 2)
    bound = float(layer.inverse_lipschitz_bound())
    assert norm * (1.0 - 1e-12) <= bound <= norm * (1.0 + 300.0 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kind", MIXING)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_the_certified_error_of_the_inverse_covers_it(kind, size):
    layer, x = whitened(kind, "float32")
    x = (size * (x[:200] - 3.0)).astype("float32")
    y = layer(x).numpy().astype("float64").reshape(len(x), -1)
    truth = np.linalg.solve(matrix_of(layer), y.T).T - layer.bias.numpy().astype("float64").ravel()
    found = layer.inverse(y.reshape(x.shape))
    error = np.linalg.norm(np.reshape(found.x, truth.shape) - truth, axis=1)
    assert (error <= found.error_bound.numpy()).all()
    # It allows for the worst alignment of all roundings, and no more than that.
    assert found.error_bound.numpy().max() < 1000.0 * error.max()


def test_constant_coordinates_keep_their_scale():
    x = np.concatenate([RNG.normal(size=(50, 2)), np.full((50, 1), 7.0)], 1)
    layer = layers.Whiten(dtype="float64")
    layer.initialize(x)
    np.testing.assert_allclose(layer(x)[:, 2], 0.0, atol=1e-12)
    assert np.isfinite(layer.forward_and_log_det(x)[1]).all()
    assert 0.0 in layer.log_scale.numpy()


def test_fit_initialises_it_and_files_keep_it(tmp_path):
    x = correlated("vector", 512).astype("float32")
    model = models.DensityModel([layers.Whiten()], prior="fixed")
    model.compile("sgd")
    model.optimizer.learning_rate = 0.0
    model.fit(x, batch_size=512, verbose=0)
    normal = -0.5 * (4 * (1.0 + np.log(2 * np.pi)) + np.linalg.slogdet(np.cov(x.T, bias=True))[1])
    assert np.mean(model.log_prob(x)) == pytest.approx(normal, rel=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), model.log_prob(x))
    assert loaded.flow.is_initialized()


def test_architectures_begin_with_it():
    flows = (
        models.architectures.vector_flow(1, 8, 1, whiten=True),
        models.architectures.image_flow((1,), 8, whiten=True),
    )
    assert all(isinstance(each[0], layers.Whiten) for each in flows)
    with pytest.raises(ValueError, match="epsilon is a positive number; received -1.0"):
        layers.Whiten(epsilon=-1.0)
    with pytest.raises(ValueError, match="needs the shape of a sample"):
        layers.Whiten().build((None, None, 3))
