"""The invertible layers: one table for what all of them promise, then each one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers, log_det, solvers
from iresnet_tf.layers import activations

VECTOR, IMAGE = (6,), (4, 4, 2)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def uniform(low, high):
    def draw(*shape, seed=0):
        return np.random.default_rng(seed).uniform(low, high, shape)

    return draw


def residual_block(kind, dtype, shared=None):
    if shared is not None:
        g = shared
    elif kind == "dense":
        g = layers.Contraction.mlp((8,), coeff=0.9, dtype=dtype)
    else:
        g = layers.Contraction.conv(4, (3, 3), coeff=0.9, dtype=dtype)
    return layers.ResidualBlock(
        g,
        log_det=log_det.Exact(),
        solver=solvers.Anderson(tolerance=1e-6 if dtype == "float32" else 1e-12),
    )


def stack(dtype):
    return layers.Stack(
        [
            layers.Dequantize(4, dtype=dtype),
            layers.Logit(0.05, dtype=dtype),
            layers.ActNorm(dtype=dtype),
            residual_block("conv", dtype),
            layers.Squeeze(dtype=dtype),
            residual_block("conv", dtype),
        ]
    )


# name: (dtype ↦ layer, shape of a sample, draw of a batch, shape of a latent sample)
LAYERS = {
    "block-dense": (lambda dtype: residual_block("dense", dtype), VECTOR, normal, VECTOR),
    "block-conv": (lambda dtype: residual_block("conv", dtype), IMAGE, normal, IMAGE),
    "actnorm-vector": (lambda dtype: layers.ActNorm(dtype=dtype), VECTOR, normal, VECTOR),
    "actnorm-image": (lambda dtype: layers.ActNorm(dtype=dtype), IMAGE, normal, IMAGE),
    "squeeze": (lambda dtype: layers.Squeeze(dtype=dtype), IMAGE, normal, (2, 2, 8)),
    "dequantize": (lambda dtype: layers.Dequantize(4, dtype=dtype), IMAGE, uniform(0, 4), IMAGE),
    "logit": (lambda dtype: layers.Logit(0.01, dtype=dtype), IMAGE, uniform(0, 1), IMAGE),
    "center": (lambda dtype: layers.Center(0.5, dtype=dtype), VECTOR, normal, VECTOR),
    "stack": (stack, IMAGE, uniform(0, 4), (2, 2, 8)),
}


@pytest.fixture(params=LAYERS)
def case(request):
    return LAYERS[request.param]


def built(case, dtype="float64", shift=0.1):
    """The layer with weights that are not its defaults, and a batch."""
    make, shape, draw, _ = case
    layer, x = make(dtype), draw(3, *shape).astype(dtype)
    layer.build((None, *shape))
    for variable in layer.trainable_variables:
        variable.assign_add(shift * normal(*variable.shape, seed=1).astype(dtype))
    layers.refresh(layer)
    return layer, x


# What every layer promises


def test_shapes(case):
    _, shape, _, latent = case
    layer, x = built(case)
    y, log_det = layer.forward_and_log_det(x)
    assert y.shape == (3, *latent) and log_det.shape == (3,)
    assert layer.compute_output_shape((None, *shape)) == (None, *latent)
    assert tuple(layer.compute_input_shape((None, *latent))) == (None, *shape)
    assert tuple(layer.latent_shape) == latent
    assert layer(keras.Input(shape, dtype="float64")).shape == (None, *latent)
    result = layer.inverse(y)
    assert result.x.shape == (3, *shape)
    assert all(each.shape == (3,) for each in result[1:])
    assert result.iterations.dtype == tf.int32 and result.converged.dtype == tf.bool


def test_inverse_undoes_the_layer_and_the_layer_its_inverse(case):
    layer, x = built(case)
    y = layer(x)
    result = layer.inverse(tf.identity(y))
    np.testing.assert_allclose(result.x, x, atol=1e-9)
    np.testing.assert_allclose(layer(result.x), y, atol=1e-9)
    np.testing.assert_allclose(layer._inverse_point(y, layer._inverse_options(y)), x, atol=1e-9)
    assert result.converged.numpy().all()


def test_log_det_is_that_of_the_jacobian(case, jacobian_of):
    layer, x = built(case)
    expected = tf.linalg.slogdet(jacobian_of(layer, x))[1]
    np.testing.assert_allclose(layer.forward_and_log_det(x)[1], expected, atol=1e-9)


def test_forward_and_log_det_gives_what_the_call_gives(case):
    layer, x = built(case)
    np.testing.assert_allclose(layer.forward_and_log_det(x)[0], layer(x), atol=1e-13)


def test_methods_build_on_first_use(case):
    make, shape, draw, latent = case
    x = draw(3, *shape)
    for use in (lambda layer: layer.forward_and_log_det(x), lambda layer: layer(x)):
        layer = make("float64")
        use(layer)
        assert layer.built and layer.event_shape == shape
    layer = make("float64")
    assert layer.inverse(normal(3, *latent)).x.shape == (3, *shape)


def test_inside_a_function_with_an_unknown_batch(case):
    layer, x = built(case)
    _, shape, _, latent = case
    forward = tf.function(
        lambda x: layer.forward_and_log_det(x, seed=1),
        input_signature=[tf.TensorSpec((None, *shape), tf.float64)],
    )
    for one, other in zip(forward(x), layer.forward_and_log_det(x, seed=1), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    inverse = tf.function(
        layer.inverse, input_signature=[tf.TensorSpec((None, *latent), tf.float64)]
    )
    y = layer(x)
    for one, other in zip(inverse(y), layer.inverse(y), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_float32_error_bound_exceeds_the_error(case):
    wide, x = built(case)
    narrow = case[0]("float32")
    narrow.build((None, *case[1]))
    narrow.set_weights(wide.get_weights())
    y = tf.cast(wide(x), tf.float32)
    result = narrow.inverse(y)
    error = tf.cast(result.x, tf.float64) - wide.inverse(tf.cast(y, tf.float64)).x
    error = np.linalg.norm(error.numpy().reshape(3, -1), axis=1)
    assert (error <= result.error_bound.numpy()).all()
    assert (result.error_bound.numpy() < 1e-2).all()


def test_inverse_lipschitz_bound_exceeds_every_difference(case):
    layer, x = built(case)
    y = layer(x).numpy()
    near = y + 1e-4 * normal(*y.shape, seed=2)
    rise = np.linalg.norm(layer.inverse(near).x.numpy() - x) / np.linalg.norm(near - y)
    assert rise <= float(layer.inverse_lipschitz_bound()) * (1 + 1e-6)


def test_gradients_pass_through_the_layer_and_its_inverse(case, jacobian_of):
    layer, x = built(case)
    y = tf.convert_to_tensor(layer(x))
    cotangent = normal(*x.shape, seed=3)
    with tf.GradientTape() as tape:
        tape.watch(y)
        total = tf.reduce_sum(cotangent * layer.inverse(y).x)
    transposed = tf.linalg.matrix_transpose(jacobian_of(layer, x))
    expected = tf.linalg.solve(transposed, cotangent.reshape(3, -1, 1))
    np.testing.assert_allclose(tape.gradient(total, y), tf.reshape(expected, y.shape), atol=1e-8)


def test_configuration_round_trip(case):
    layer, _ = built(case)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    serialised = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(serialised)
    assert again.get_config() == layer.get_config()


def test_saved_model_gives_the_same_outputs(case, tmp_path):
    _, shape, draw, _ = case
    layer, x = built(case, "float32")
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    again = loaded.layers[-1]
    for one, other in zip(again.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=other.path)
    y = layer(x)
    for one, other in zip(again.inverse(y), layer.inverse(y), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        again.forward_and_log_det(x, seed=5)[1], layer.forward_and_log_det(x, seed=5)[1]
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(case, value):
    layer, x = built(case)
    y = layer(x).numpy()
    x[1].flat[3] = value
    y[2].flat[1] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match="received NaN or Inf in a batch"):
        layer.forward_and_log_det(x)
    with pytest.raises(tf.errors.InvalidArgumentError, match="received NaN or Inf in a batch"):
        layer.inverse(y)


def test_another_sample_shape_is_refused(case):
    _, shape, _, latent = case
    layer, _ = built(case)
    for wrong in [(3, *shape[:-1], shape[-1] + 4), (3, *shape, 2), (3,)]:
        with pytest.raises(ValueError, match=r"was built for samples of shape.*received a batch"):
            layer.forward_and_log_det(np.ones(wrong))
        with pytest.raises(ValueError, match="incompatible with the layer"):
            layer(np.ones(wrong))
    with pytest.raises(ValueError, match=r"was built for samples of shape.*received a batch"):
        layer.inverse(np.ones((3, *latent[:-1], latent[-1] + 4)))


def test_symbolic_input_to_a_method_is_refused(case):
    make, shape, _, latent = case
    for method, of in [("forward_and_log_det", shape), ("inverse", latent)]:
        with pytest.raises(ValueError, match="not a symbolic Keras input"):
            getattr(make("float64"), method)(keras.Input(of, dtype="float64"))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_low_precision_is_refused(case, policy):
    with pytest.raises(ValueError, match=f"float32 or float64.*{policy}.*dtype='float32'"):
        case[0](policy)


def test_global_low_precision_policy_is_refused():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(ValueError, match="mixed_bfloat16"):
            layers.ResidualBlock(layers.Contraction.mlp())
    finally:
        keras.config.set_dtype_policy(before)


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


# ActNorm


@pytest.mark.parametrize("shape", [VECTOR, IMAGE], ids=["vector", "image"])
@pytest.mark.parametrize("how", ["call", "fit", "initialize", "stack"])
def test_actnorm_starts_with_mean_zero_and_variance_one(shape, how):
    x = (5.0 + 3.0 * normal(64, *shape)).astype("float32")
    layer = layers.ActNorm()
    if how == "call":
        assert not layer.is_initialized()
        layer(x, training=True)
    elif how == "initialize":
        layer.initialize(x)
    elif how == "stack":
        layers.Stack([layers.Center(2.0), layer])(x, training=True)
        x = x - 2.0
    else:
        model = keras.Sequential([keras.Input(shape), layer])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        model.fit(x, x, batch_size=64, shuffle=False, verbose=0)
    assert layer.is_initialized()
    axes = tuple(range(len(shape)))
    y = layer(x).numpy().astype(np.float64)
    np.testing.assert_allclose(y.mean(axes), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.var(axes), 1.0, atol=1e-5)


def test_act_norm_keeps_the_scale_of_a_constant_channel():
    """Padding is constant at first: divided by its deviation, it would explode later."""
    layer = layers.ActNorm()
    x = np.concatenate([normal(50, 3), np.full((50, 1), 7.0)], 1).astype("float32")
    layer.initialize(x)
    y = layer(x).numpy()
    np.testing.assert_allclose(y[:, :-1].std(0), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(y[:, -1], 0.0)
    assert float(layer.log_scale[-1]) == 0.0


def test_actnorm_is_the_identity_until_then_and_starts_once():
    layer, x = layers.ActNorm(), 2.0 + normal(16, 3).astype("float32")
    np.testing.assert_array_equal(layer(x), x)
    assert not layer.is_initialized()
    layer(x, training=True)
    first = layer.get_weights()
    layer(5.0 * x, training=True)
    for one, other in zip(first, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_loaded_actnorm_does_not_start_again(tmp_path):
    x = 2.0 + normal(16, 3).astype("float32")
    model = keras.Sequential([keras.Input((3,)), layers.ActNorm()])
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].is_initialized()
    loaded(7.0 * x, training=True)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_stack_initialises_each_layer_from_the_one_before():
    x = 2.0 + 4.0 * normal(64, 6)
    model = layers.Stack(
        [
            layers.ActNorm(dtype="float64"),
            residual_block("dense", "float64"),
            layers.ActNorm(dtype="float64"),
        ]
    )
    assert not model.is_initialized()
    model.initialize(x)
    assert model.is_initialized()
    y = model(x).numpy()
    np.testing.assert_allclose(y.mean(0), 0.0, atol=1e-9)
    np.testing.assert_allclose(y.std(0), 1.0, atol=1e-5)


# Sharing


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


# Dequantize


def test_noise_is_uniform_within_each_level():
    layer = layers.Dequantize(256)
    x = np.tile(np.arange(256.0, dtype="float32"), (400, 1))
    noise = layer.add_noise(x, seed=3).numpy() - x
    assert noise.min() >= 0.0 and noise.max() < 1.0
    assert noise.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * noise.size))
    np.testing.assert_array_equal(layer.to_levels(layer.add_noise(x, seed=3)), x)


def test_training_adds_noise_and_evaluation_does_not():
    layer, x = layers.Dequantize(4), np.full((5, 3), 2.0, "float32")
    np.testing.assert_array_equal(layer(x), x / 4)
    noisy = layer(x, training=True).numpy()
    assert (noisy >= 0.5).all() and (noisy < 0.75).all() and np.ptp(noisy) > 0
    assert not np.array_equal(noisy, layer(x, training=True))


def test_an_example_gets_the_same_noise_in_any_batch():
    layer, x = layers.Dequantize(4), np.ones((17, 3), "float32")
    whole = layer.add_noise(x, seed=3)
    np.testing.assert_array_equal(layer.add_noise(x[:5], seed=3), whole[:5])


@pytest.mark.parametrize("value", [-1.0, 4.0, 1.5])
def test_what_is_no_level_is_refused_with_the_range_received(value):
    layer, x = layers.Dequantize(4), np.ones((2, 3), "float32")
    x[1, 1] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"whole numbers in \[0, 3\]") as error:
        layer.add_noise(x, seed=0)
    assert f"{min(1.0, value):g}" in error.value.message
    assert f"{max(1.0, value):g}" in error.value.message


@pytest.mark.parametrize("value", [-0.1, 4.1])
def test_range_check_names_what_it_received(value):
    layer, x = layers.Dequantize(4), np.ones((2, 3), "float32")
    x[1, 1] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 4\]") as error:
        layer.require_range(x)
    assert f"{value:g}" in error.value.message


# Errors of one layer


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.Dequantize(1), "levels is an integer of at least 2; received 1"),
        (lambda: layers.Dequantize(2.5), "levels.*2.5"),
        (lambda: layers.Logit(0.5), "between 0 and 1/2.*0.5"),
        (lambda: layers.Logit(0.0), "between 0 and 1/2.*0.0"),
        (lambda: layers.ActNorm(epsilon=0.0), "epsilon is a positive number; received 0.0"),
        (lambda: layers.Stack([keras.layers.Dense(3)]), "takes invertible layers.*Dense"),
        (lambda: layers.ResidualBlock(abs), "g is a Keras layer.*abs"),
        (lambda: layers.Contraction([]), "at least one layer"),
        (lambda: layers.Contraction([layers.MaxMin()], lipschitz=0.0), "positive.*0.0"),
        (lambda: layers.Contraction.conv((4,), (3, 1, 3)), r"2 hidden convolutions.*\(4,\)"),
        (lambda: layers.Contraction.mlp(coeff=1.0), "coeff.*1.0"),
        (lambda: layers.Contraction.conv(coeff=0.0), "coeff.*0.0"),
        (lambda: layers.Contraction.mlp(activation="swish"), "The activation is one of.*'swish'"),
        (lambda: layers.Activation("swish"), "The activation is one of.*'swish'"),
        (lambda: activations.get(3), "The activation is one of.*3"),
        (lambda: layers.ResidualBlock(layers.MaxMin(), log_det="exact"), "log_det is.*'exact'"),
        (lambda: layers.ResidualBlock(layers.MaxMin(), solver="picard"), "solver is.*'picard'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("shape", [(3, 5, 4, 2), (3, 4, 5, 2), (3, 4), (3, 4, 4)])
def test_squeeze_needs_even_sides(shape):
    with pytest.raises(ValueError, match="halves height and width"):
        layers.Squeeze()(np.ones(shape, "float32"))


@pytest.mark.parametrize("shape", [(3, 4, 4, 6), (3, 4)])
def test_inverse_of_squeeze_needs_four_times_the_channels(shape):
    with pytest.raises(ValueError, match="4c channels"):
        layers.Squeeze().inverse(np.ones(shape))


@pytest.mark.parametrize("channels", [3, None])
def test_maxmin_needs_pairs_of_channels(channels):
    with pytest.raises(ValueError, match="even number"):
        layers.MaxMin().build((None, channels))


def test_contraction_must_return_what_it_is_given():
    with pytest.raises(ValueError, match=r"maps \(None, 3\) to \(None, 5\)"):
        layers.Contraction([layers.SpectralDense(5)]).build((None, 3))


def test_unlipschitz_bound_or_inf_constant_says_what_to_do():
    unknown = keras.layers.Dense(3)
    for g in (layers.Contraction([unknown]), unknown):
        block = layers.ResidualBlock(g)
        block.build((None, 3))
        with pytest.raises(ValueError, match=r"not known.*Contraction\(\[.*lipschitz=") as error:
            block.lipschitz_bound()
        assert unknown.name in str(error.value)
        assert np.isinf(block.inverse(np.ones((2, 3))).error_bound.numpy()).all()
    known = layers.Contraction([unknown], lipschitz=0.5)
    assert layers.ResidualBlock(known).lipschitz_bound() == 0.5


def test_activation_layer_given_to_a_contraction_is_copied():
    activation = layers.LipSwish()
    g = layers.Contraction.mlp((4, 4), activation=activation)
    g.build((None, 3))
    assert len({id(part) for part in g.parts}) == 5 and activation not in g.parts
    assert len(g.trainable_variables) == 3 * 2 + 2


def test_float64_parts_make_a_float64_whole():
    g = layers.Contraction([layers.SpectralDense(dtype="float64")])
    block = layers.Stack([layers.ResidualBlock(g)])
    y, log_det = block.forward_and_log_det(normal(2, 3))
    assert y.dtype == log_det.dtype == block(normal(2, 3)).dtype == tf.float64
