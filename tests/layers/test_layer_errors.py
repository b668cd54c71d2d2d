"""Wrong options and shapes of the layers, and what their errors say."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from every_layer_examples import normal

from iresnet_tf import layers
from iresnet_tf.layers import activations


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.Dequantize(1), "levels is an integer of at least 2; received 1"),
        (lambda: layers.Dequantize(2.5), "levels.*2.5"),
        (lambda: layers.Logit(0.5), "between 0 and 1/2.*0.5"),
        (lambda: layers.Logit(0.0), "between 0 and 1/2.*0.0"),
        (lambda: layers.Gaussianize((1.0, 1.0), 0.5), "between 0 and 1/2.*0.5"),
        (lambda: layers.Gaussianize((1.0, 0.0)), "positive numbers.*1.0, 0.0"),
        (lambda: layers.Gaussianize(((1.0, 1.0),)), "positive numbers"),
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


def test_unknown_lipschitz_constant_says_what_to_do():
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
