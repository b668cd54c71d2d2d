"""A model of ``c · x`` is as good as one of ``x``, whatever the unit ``c``."""

import functools
import warnings

import keras
import numpy as np
import pytest

from iresnet_tf import layers, models

RNG = np.random.default_rng(0)
DATA = (RNG.normal(size=(200, 2)) @ [[1.0, 0.6], [0.0, 0.8]] + [0.5, -1.0]).astype("float32")
CONTEXT = RNG.normal(size=(200, 1)).astype("float32")


def block(**options):
    return layers.ResidualBlock(layers.Contraction.mlp((8,), **options))


def fitted(kind, unit):
    """Returns a model after some steps, and its mean negative log-likelihood in units of ``c``."""
    keras.utils.set_random_seed(0)
    data, context = np.float32(unit) * DATA, {}
    if kind == "ConditionalDensityModel":
        model = models.ConditionalDensityModel(
            [layers.ActNorm(), block(context_shape=(1,))], seed=0
        )
        pairs, context = (data, CONTEXT), {"context": CONTEXT}
    else:
        front = {"ActNorm": (), "Standardize": (standardize(data),)}[kind]
        norms = [] if front else [layers.ActNorm()]
        model = models.DensityModel([*norms, block()], preprocessing=front, seed=0)
        pairs = (data,)
    model.compile(keras.optimizers.Adam(1e-2, global_clipnorm=1.0))
    model.fit(*pairs, epochs=5, batch_size=50, verbose=0, shuffle=False)
    nats = -np.mean(model.log_prob(data, seed=1, **context)) - 2 * np.log(float(np.float32(unit)))
    return model, data, context, nats


def standardize(data):
    data = data.astype(np.float64)
    return layers.Standardize(data.mean(0), data.std(0))


@functools.cache
def in_ordinary_units(kind):
    return fitted(kind, 1.0)[-1]


@pytest.mark.parametrize(
    "kind, unit",
    [("ActNorm", 1e-12), ("ActNorm", 1e12)]
    + [
        pytest.param(kind, unit, marks=pytest.mark.slow)
        for kind, unit in [
            *[("ActNorm", unit) for unit in (1e-6, 1e-3, 1e3, 1e6)],
            *[("Standardize", unit) for unit in (1e-12, 1e12)],
            *[("ConditionalDensityModel", unit) for unit in (1e-12, 1e12)],
        ]
    ],
)
def test_the_unit_of_the_data_does_not_matter(kind, unit):
    model, data, context, nats = fitted(kind, unit)
    assert nats == pytest.approx(in_ordinary_units(kind), abs=0.01)
    z = model.encode(data, **context)
    stddev = data.std(0)
    for tolerance in (None, 1e-6 * unit):
        back = model.decode(z, tolerance=tolerance, **context)
        assert (np.abs(back - data) <= 1e-5 * stddev).all()
    found = model.flow.inverse(z, tolerance=1e-5 * unit, **context)
    error = np.linalg.norm(found.x.numpy() - data, axis=1)
    assert found.converged.numpy().all()
    # The data themselves are known to the rounding of z only, which the bound does not count.
    assert (error <= found.error_bound.numpy() + 1e-5 * unit).all()
    assert (found.error_bound.numpy() < 1e-3 * unit).all()


def test_columns_of_different_units_are_fitted_alike():
    keras.utils.set_random_seed(0)
    units = np.array([1e-12, 1e12], "float32")
    model = models.DensityModel([layers.ActNorm(), block()], seed=0)
    model.compile(keras.optimizers.Adam(1e-2, global_clipnorm=1.0))
    model.fit(units * DATA, epochs=5, batch_size=50, verbose=0, shuffle=False)
    nats = -np.mean(model.log_prob(units * DATA, seed=1)) - np.log(units.astype(float)).sum()
    assert nats == pytest.approx(in_ordinary_units("ActNorm"), abs=0.01)
    back = model.decode(model.encode(units * DATA)) / units
    np.testing.assert_allclose(back, DATA, atol=1e-5)


def test_an_act_norm_that_was_saved_without_a_deviation_keeps_its_bias():
    """In files of older versions the bias of an ActNorm is its first weight."""
    layer = layers.ActNorm()
    layer.build((None, 2))
    store = {"0": np.float32([3.0, -4.0]), "1": np.float32([0.5, 1.0])}
    store |= {"2": np.zeros(2, "int32"), "3": np.array(True)}
    layer.load_own_variables(store)
    assert layer.is_initialized()
    np.testing.assert_array_equal(layer.bias, [3.0, -4.0])
    expected = (DATA + store["0"]) * np.exp(store["1"])
    np.testing.assert_allclose(layer(DATA), expected, rtol=1e-6)
    # The tolerance keeps its meaning in models that were saved then.
    assert float(layer._unit()) == 1.0


def test_data_that_float32_does_not_resolve_are_refused():
    far = 1e12 + DATA.astype(np.float64)
    model = models.DensityModel([layers.ActNorm(), block()])
    model.compile("adam")
    with pytest.raises(ValueError, match="varies by .* around 1e.12, which float32 does not"):
        model.fit(far, verbose=0)
    # A constant is none of these, even one that float32 rounds.
    model.initialize(0.1 + 0.0 * far)
    parts = [layers.ActNorm(dtype="float64"), block(dtype="float64")]
    wide = models.DensityModel(parts, dtype="float64")
    wide.initialize(far)
    assert np.std(wide.encode(far)) == pytest.approx(1.0, abs=0.5)
    np.testing.assert_allclose(wide.decode(wide.encode(far)), far, rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("unit, warned", [(1e-6, True), (1.0, False), (1e6, True)])
@pytest.mark.parametrize("norm", [False, True])
def test_fit_warns_where_a_block_receives_data_of_an_unusual_size(unit, warned, norm):
    norms = [layers.ActNorm()] if norm else []
    model = models.DensityModel([layers.Stack([*norms, block()])])
    model.compile("adam")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.initialize(np.float32(unit) * DATA)
    found = [w for w in caught if "Put ActNorm" in str(w.message)]
    assert bool(found) == (warned and not norm)
