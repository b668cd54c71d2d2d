"""The private parts of the frameworks that the package uses still do what it expects."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf import internals, layers
from iresnet_tf.bijectors import Residual


def test_a_function_is_called_and_not_copied():
    square = internals.noinline_function(tf.square)

    @tf.function
    def twice(x):
        return square(square(x))

    function = square.get_concrete_function(tf.constant(2.0)).function_def
    assert function.attr["_noinline"].b
    graph = twice.get_concrete_function(tf.constant(2.0)).graph.as_graph_def()
    kinds = [node.op for node in graph.node]
    assert sum("PartitionedCall" in kind for kind in kinds) == 2 and "Square" not in kinds
    np.testing.assert_allclose(twice(tf.constant(3.0)), 81.0)


class Nested(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.first = keras.Sequential([keras.layers.Dense(2), keras.layers.ReLU()])
        self.rest = [keras.layers.Dense(3), keras.layers.Dropout(0.5)]


def test_inner_layers_are_those_that_a_layer_holds_in_order():
    layer = Nested()
    assert internals.inner_layers(layer) == [layer.first, *layer.rest]
    model = keras.Sequential([keras.layers.Dense(2), layer])
    assert internals.inner_layers(model) == model.layers


def test_all_layers_are_those_inside_and_the_layer_itself():
    layer = Nested()
    found = internals.all_layers(layer)
    assert found[0] is layer
    assert set(map(id, found)) == set(
        map(id, [layer, layer.first, *layer.first.layers, *layer.rest])
    )


def test_layers_tell_whether_they_take_training():
    assert internals.takes_training(keras.layers.Dropout(0.5))
    assert internals.takes_training(layers.ActNorm())
    assert not internals.takes_training(layers.Squeeze())


def test_the_bare_variable_of_a_weight_has_its_constraint():
    dense = keras.layers.Dense(2, kernel_constraint="non_neg")
    dense.build((None, 3))
    internals.constrain_bare_variable(dense.kernel)
    assert dense.kernel.value.constraint is dense.kernel.constraint


def test_moving_averages_follow_the_weights():
    dense = keras.layers.Dense(1, use_bias=False)
    dense.build((None, 1))
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.75)
    optimizer.build(dense.trainable_variables)
    before = dense.kernel.numpy()
    optimizer.apply([tf.ones((1, 1))])
    ((variable, average),) = internals.moving_averages(optimizer)
    assert variable is dense.kernel
    np.testing.assert_allclose(variable.numpy(), before - 0.5, rtol=1e-6)
    # The first step of an average is the weight itself, or its share of the step.
    assert average.shape == variable.shape
    optimizer.apply([tf.ones((1, 1))])
    expected = 0.75 * average.numpy() + 0.25 * (variable.numpy() - 0.5)
    optimizer.apply([tf.ones((1, 1))])
    np.testing.assert_allclose(average.numpy(), expected, rtol=1e-5)


def test_the_batch_of_one_replica_has_the_shape_of_its_part():
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([devices[0].name])
    dataset = tf.data.Dataset.from_tensor_slices(np.zeros((8, 3), "float32")).batch(4)
    iterator = iter(strategy.distribute_datasets_from_function(lambda context: dataset))
    spec = internals.batch_spec(iterator)
    assert spec.shape.as_list() == [None, 3] and spec.dtype == tf.float32


def test_a_trace_has_a_cache_and_eager_mode_has_none():
    block = layers.ResidualBlock(layers.Contraction.mlp((4,)))
    block(np.ones((1, 2)))
    bijector = Residual(block)
    x = tf.ones((1, 2))
    assert bijector._cache is not bijector._cache
    attributes = bijector._cache.forward_attributes(x)
    attributes["seen"] = 1
    assert "seen" not in bijector._cache.forward_attributes(x)

    @tf.function
    def traced(x):
        bijector._cache.forward_attributes(x)["seen"] = 1
        assert "seen" in bijector._cache.forward_attributes(x)
        return bijector.forward(x)

    traced(x)
    assert isinstance(bijector, tfp.bijectors.Bijector)
