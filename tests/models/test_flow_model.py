"""Tests what all models around a flow have in common."""

import keras
import numpy as np
import pytest
from density_examples import run

from iresnet_tf import layers, models


def _layers():
    g = layers.Contraction.conv(4, (3, 1, 3), dtype="float64")
    return [layers.ActNorm(dtype="float64"), layers.ResidualBlock(g)]


def _models():
    yield models.DensityModel(_layers(), dtype="float64")
    yield models.Classifier(_layers(), classes=3, dtype="float64")
    yield models.HybridModel(_layers(), classes=3, dtype="float64")


@pytest.mark.parametrize("model", _models(), ids=lambda model: type(model).__name__)
def test_the_largest_gradient_is_what_a_unit_step_moves_a_weight_by(model):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 4, 4, 2)), random.integers(0, 3, 8)
    y = None if type(model) is models.DensityModel else y
    model.compile(keras.optimizers.SGD(1.0))
    model.fit(x, y, epochs=1, verbose=0)
    before = [weight.numpy() for weight in model.trainable_variables]
    history = model.fit(x, y, epochs=1, verbose=0)
    after = [weight.numpy() for weight in model.trainable_variables]
    moved = [np.max(abs(new - old)) for old, new in zip(before, after)]
    assert history.history["max_gradient"][0] == pytest.approx(max(moved), rel=1e-6)
    assert "max_gradient" not in model.evaluate(x, y, verbose=0, return_dict=True)


def test_the_package_alone_brings_the_architectures():
    run("""
        import iresnet_tf as irn

        assert len(irn.models.architectures.vector_flow(1, 4, 1)) == 3
    """)


def test_a_model_that_takes_no_context_refuses_one_and_the_others_ask_for_it():
    plain = models.DensityModel([layers.ActNorm()])
    x, context = np.ones((2, 3)), np.ones((2, 5))
    with pytest.raises(ValueError, match="does not depend on a context; received one"):
        plain.log_prob(x, context=context)
    g = layers.Contraction.mlp((4,), context_shape=(5,))
    conditional = models.ConditionalDensityModel([layers.ResidualBlock(g)])
    for use in (conditional.log_prob, conditional.encode, conditional.predict):
        with pytest.raises(ValueError, match=r"depends on a context; received none.*\[batch, 5\]"):
            use(x)
    with pytest.raises(ValueError, match=r"depends on a context; received none.*\[batch, 5\]"):
        conditional.sample(2)
