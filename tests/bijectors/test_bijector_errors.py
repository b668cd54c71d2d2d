"""Tests the errors of bijectors, and bijectors of layers that are not built."""

import keras
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from bijector_examples import data, dense_block

from iresnet_tf.bijectors import Residual, from_layer
from iresnet_tf.layers import (
    ActNorm,
    Contraction,
    FactorOut,
    Flatten,
    ResidualBlock,
    Squeeze,
    Stack,
)

tfd, tfb = tfp.distributions, tfp.bijectors


def test_another_layer_type_is_named():
    with pytest.raises(ValueError, match="invertible layer.*Dense"):
        from_layer(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="ResidualBlock.*ActNorm"):
        Residual(ActNorm())


def test_unknown_rank_asks_for_event_ndims():
    with pytest.raises(ValueError, match="event_ndims"):
        from_layer(ActNorm())
    assert from_layer(ActNorm(), event_ndims=3).forward_min_event_ndims == 3
    # The block's rank is that of what the layers before it make of a sample.
    vector = dense_block()
    for flat in (Flatten(dtype="float64"), FactorOut([ActNorm(dtype="float64")])):
        with pytest.raises(ValueError, match="event_ndims"):
            from_layer(Stack([ActNorm(dtype="float64"), flat, vector]))


def test_a_rank_that_contradicts_the_built_layer_is_refused():
    with pytest.raises(ValueError, match="rank 1.*event_ndims=3"):
        Residual(dense_block(), event_ndims=3)


def test_a_wrong_event_shape_is_named():
    with pytest.raises(ValueError, match=r"\(3,\).*received.*\(4, 2\)"):
        Residual(dense_block()).forward(tf.zeros([4, 2], tf.float64))


FIRST_CALLS = {
    "forward": lambda bijector, x: bijector.forward(x),
    "inverse": lambda bijector, x: bijector.inverse(x),
    "log det": lambda bijector, x: bijector.forward_log_det_jacobian(x, 1),
}


@pytest.mark.parametrize("first_call", FIRST_CALLS)
def test_a_bijector_of_an_unbuilt_layer_shows_its_variables_after_the_first_call(first_call):
    block = ResidualBlock(Contraction.mlp(units=(8,), dtype="float64"))
    bijector = Residual(block)
    chain = tfb.Chain([bijector])
    assert bijector.trainable_variables == ()
    assert chain.forward_event_shape([5, 3]) == [5, 3]
    FIRST_CALLS[first_call](chain, data())
    assert {id(v) for v in chain.trainable_variables} == {
        id(w.value) for w in block.trainable_variables
    }
    assert len(bijector.trainable_variables) == 5


def test_event_shapes_of_an_unbuilt_squeeze():
    bijector = from_layer(Squeeze())
    assert bijector.forward_event_shape([5, 4, 2, 1]) == [5, 2, 1, 4]
    assert list(bijector.forward_event_shape_tensor([5, 4, 2, 1])) == [5, 2, 1, 4]
    assert bijector.inverse_event_shape([5, 2, 1, 4]).as_list() == [5, None, None, None]
    with pytest.raises(ValueError, match="not built"):
        bijector.inverse_event_shape_tensor([5, 2, 1, 4])
