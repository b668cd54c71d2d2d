"""Tests what a constant that somebody vouches for changes, and what it does not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf import analysis, layers, models
from iresnet_tf.training.callbacks import Certificate


def scaled(factor, *, lipschitz, coeff=None):
    """Returns a block whose only layer is ``factor · x``, with a claim about it."""
    dense = layers.SpectralDense(3, coeff=coeff, use_bias=False)
    block = layers.ResidualBlock(layers.Contraction([dense], lipschitz=lipschitz))
    block.build((None, 3))
    dense.kernel.assign(factor * np.eye(3))
    return block


def unknown(lipschitz=0.5):
    return layers.ResidualBlock(layers.Contraction([keras.layers.Dense(3)], lipschitz=lipschitz))


@pytest.mark.parametrize("factor, claim, bound, vouched", [
    (0.75, 0.01, 0.75, False),
    (0.75, 0.9, 0.75, False),
    (4.0, 0.5, 0.5, True),
    (4.0, 8.0, 4.0, False),
])  # fmt: skip
def test_a_claim_never_replaces_a_computed_bound_below_one(factor, claim, bound, vouched):
    block = scaled(factor, lipschitz=claim)
    assert block.lipschitz_bound() == pytest.approx(bound, rel=1e-5)
    assert float(tf.function(block.lipschitz_bound)()) == pytest.approx(bound, rel=1e-5)
    assert block.is_vouched == vouched
    kept = scaled(factor, lipschitz=claim, coeff=0.9)
    assert kept.lipschitz_target_or_none() == 0.9


@pytest.mark.parametrize("wrap", [
    lambda g: g,
    lambda g: layers.Contraction([g, layers.SpectralDense(3)]),
    lambda g: layers.Contraction([layers.DenseConcatenation([g]), layers.SpectralDense(3)]),
])  # fmt: skip
def test_a_claim_inside_a_model_is_named_and_certifies_nothing(wrap):
    inner = layers.Contraction([keras.layers.Dense(3)], lipschitz=0.5)
    block = layers.ResidualBlock(wrap(inner), name="claimed")
    model = models.DensityModel([layers.ResidualBlock(layers.Contraction.mlp((4,))), block])
    model.build((None, 3))
    assert layers.vouched_blocks(model.flow) == ["claimed"]
    certificate = analysis.certify(model)
    assert [part.certified for part in certificate.blocks] == [True, False]
    assert [part.vouched for part in certificate.blocks] == [False, True]
    assert certificate.vouched and not certificate.certified
    result = analysis.evaluate(model, np.zeros((4, 3), np.float32)).as_dict()
    assert result["lipschitz"]["certified_max"] is None
    assert result["lipschitz"]["vouched"] == ["claimed"]
    assert result["nll"]["vouched"] and result["reconstruction"]["vouched"]
    lines = []
    model.summary(print_fn=lines.append)
    assert "*" in lines[-1] and "vouched" in lines[-1]


def test_the_callback_names_a_claim_once_and_goes_on():
    model = models.DensityModel([unknown()])
    model.compile(keras.optimizers.Adam())
    with pytest.warns(UserWarning, match="vouched") as caught:
        history = model.fit(
            np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32),
            epochs=2, verbose=0, callbacks=[Certificate(stop=True)],
        )  # fmt: skip
    assert history.history["certified_lipschitz"] == [np.inf] * 2
    assert sum("vouched" in str(warning.message) for warning in caught) == 1
