"""Models whose steps and inverses XLA compiles, against the same ones without it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import layers, models
from iresnet_tf.numerics.log_det import Exact, PowerSeries, RussianRoulette
from iresnet_tf.numerics.solvers import Anderson, Picard

SHAPES = {"dense": (3,), "conv": (4, 4, 2)}
KINDS = {
    "density": models.DensityModel,
    "conditional": models.ConditionalDensityModel,
    "classifier": models.Classifier,
    "hybrid": models.HybridModel,
}
ESTIMATORS = {"series": PowerSeries(3), "roulette": RussianRoulette(), "exact": Exact()}
SOLVERS = {"picard": Picard(1e-12), "anderson": Anderson(1e-12)}


def model_of(kind, shape, estimator, solver, recompute=False):
    keras.utils.set_random_seed(1)
    options = {"activation": "elu", "dtype": "float64"}
    if kind == "conditional":
        options["context_shape"] = (2,)

    def block():
        if shape == "dense":
            g = layers.Contraction.mlp((4,), **options)
        else:
            g = layers.Contraction.conv(3, (3, 1), **options)
        return layers.ResidualBlock(g, ESTIMATORS[estimator], SOLVERS[solver], recompute)

    stack, preprocessing = [layers.ActNorm(dtype="float64"), block()], []
    if shape == "conv":
        rest = layers.FactorOut([block()], dtype="float64")
        stack = [layers.Squeeze(dtype="float64"), *stack, rest]
        preprocessing = [layers.Dequantize(4, dtype="float64"), layers.Logit(0.05, dtype="float64")]
    classes = {"classes": 3} if kind in ("classifier", "hybrid") else {}
    return KINDS[kind](stack, preprocessing=preprocessing, seed=0, dtype="float64", **classes)


def data_of(kind, shape):
    random = np.random.default_rng(0)
    x = random.integers(0, 4, (8, *SHAPES[shape])).astype(float)
    if kind == "density":
        return (x,)
    return x, random.normal(size=(8, 2)) if kind == "conditional" else np.arange(8) % 3


def figures_of(case, compiled):
    """Returns the weights after two steps, the metrics of both, and the inverse of latents."""
    kind, shape, *_ = case
    model, batch = model_of(*case), data_of(kind, shape)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.5), jit_compile=compiled)
    fitted = model.fit(*batch, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    metrics = [*fitted.values(), model.evaluate(*batch, batch_size=8, verbose=0)]
    condition = {"context": tf.constant(batch[1])} if kind == "conditional" else {}
    latent = model.encode(batch[0], **condition)
    decode = tf.function(
        lambda z: model.decode(z, **condition), autograph=False, jit_compile=compiled
    )
    return model.get_weights(), metrics, decode(latent), batch[0]


CASES = [
    ("density", "conv", "series", "anderson"),
    ("conditional", "dense", "exact", "picard"),
    ("classifier", "dense", "series", "picard"),
    ("hybrid", "dense", "roulette", "picard"),
    ("hybrid", "conv", "exact", "anderson", True),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_a_model_is_the_same_under_xla(case):
    plain, compiled = figures_of(case, False), figures_of(case, True)
    # Keras computes the cross-entropy of a classifier in float32.
    atol = 1e-8 if case[0] == "classifier" else 1e-11
    for expected, found in zip(plain[0], compiled[0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=atol)
    for expected, found in zip(plain[1], compiled[1], strict=True):
        # Metrics are float32.
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(compiled[2], plain[2], rtol=0, atol=1e-9)
    # Images come back as levels plus the noise of zeros, vectors as themselves.
    np.testing.assert_allclose(compiled[2], compiled[3], rtol=0, atol=1e-9)


def test_a_batch_in_parts_is_not_compiled():
    model = model_of("density", "dense", "series", "picard")
    with pytest.raises(ValueError, match="XLA cannot compile a batch in parts"):
        model.compile("sgd", jit_compile=True, accumulation_steps=2)


@pytest.mark.parametrize("kind", ["density", "classifier"])
def test_a_step_of_several_replicas_is_not_compiled(kind, monkeypatch):
    model = model_of(kind, "dense", "series", "picard")
    model.compile("sgd", jit_compile=True)
    monkeypatch.setattr(type(model), "replicas", 2)
    for make in (model.make_train_function, model.make_test_function):
        with pytest.raises(ValueError, match="XLA cannot compile the step of several replicas"):
            make()
