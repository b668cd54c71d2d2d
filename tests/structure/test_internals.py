"""The private parts of the frameworks that the package uses still work as expected."""

import inspect

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from keras.src.backend.tensorflow.trainer import TFEpochIterator
from tensorflow.python.distribute.values import PerReplicaSpec

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


def test_a_trace_runs_the_source_of_the_package_and_not_a_rewritten_one():
    files = []

    class Spy(layers.Squeeze):
        def _forward_and_log_det(self, x, *, seed, context):
            frames = inspect.stack()
            files.extend(each.filename for each in frames if each.function == "forward_and_log_det")
            return super()._forward_and_log_det(x, seed=seed, context=context)

    stack = layers.Stack([Spy()])
    tf.function(lambda x: stack.forward_and_log_det(x)[1])(tf.zeros((1, 2, 2, 1)))
    assert files and {inspect.getsourcefile(layers.Stack), inspect.getsourcefile(
        layers.Invertible)} >= set(files)  # fmt: skip


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


def test_losses_that_a_layer_adds_are_its_own():
    layer = keras.layers.Dense(2, activity_regularizer="l2", kernel_regularizer="l2")
    outer = keras.Sequential([layer])
    outer(np.ones((1, 3)))
    assert len(internals.added_losses(layer)) == 1 and not internals.added_losses(outer)


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
    # The first step sets the average to the weight, or moves it by a part of the step.
    assert average.shape == variable.shape
    optimizer.apply([tf.ones((1, 1))])
    expected = 0.75 * average.numpy() + 0.25 * (variable.numpy() - 0.5)
    optimizer.apply([tf.ones((1, 1))])
    np.testing.assert_allclose(average.numpy(), expected, rtol=1e-5)


class TwoReplicas:
    num_replicas_in_sync = 2
    scope = staticmethod(tf.distribute.get_strategy().scope)


def test_several_replicas_build_a_model_for_the_part_of_one():
    """The tests of the strategies run it on two devices and on two workers."""
    seen = []

    class Recorded(internals.BuiltFromPart):
        distribute_strategy = TwoReplicas()

        def _symbolic_build(self, iterator=None, data_batch=None):
            seen.append(data_batch)

    parts = [tf.TensorSpec((size, 3), tf.float32) for size in (2, 1)]

    class Dataset:
        element_spec = (PerReplicaSpec(*parts), tf.TensorSpec((1,), tf.int32))

    class Iterator:
        _distributed_dataset = Dataset()

    recorded = Recorded()
    recorded._distribute_strategy = TwoReplicas()
    recorded._maybe_symbolic_build(iterator=Iterator())
    assert seen == [(parts[0], tf.TensorSpec((1,), tf.int32))]
    own = TFEpochIterator(x=np.zeros((4, 3)), distribute_strategy=tf.distribute.get_strategy())
    spec = tf.nest.flatten(own._distributed_dataset.element_spec)[0]
    assert spec.shape[1:] == (3,)
    for name in ("_maybe_symbolic_build", "_symbolic_build"):
        assert callable(getattr(keras.Model, name))


def test_the_moments_of_the_optimizers_are_those_of_their_papers():
    for kind, moments, second in (
        (keras.optimizers.Adam, internals.adam_moments, 0.001 * 4.0),
        (keras.optimizers.Adamax, internals.adamax_moments, 2.0),
    ):
        variable = keras.Variable(1.0)
        optimizer = kind(0.1, beta_1=0.9, beta_2=0.999)
        optimizer.apply([tf.constant(2.0)], [variable])
        found = [float(each[0]) for each in moments(optimizer)]
        np.testing.assert_allclose(found, [0.1 * 2.0, second], rtol=1e-6)


def test_fit_names_its_cached_evaluation():
    seen = []

    class Recorded(keras.Sequential):
        def evaluate(self, *args, **kwargs):
            seen.append(kwargs)
            return super().evaluate(*args, **kwargs)

    model = Recorded([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((2, 1), "float32")
    model.fit(x, x, validation_data=(x, x), verbose=0)
    assert internals.CACHED_EVALUATION in seen[0]


def test_an_optimizer_prepares_its_step_once():
    class Counted(internals.PreparedOptimizer):
        calls = 0

        def prepare_step(self, variables, learning_rate):
            self.calls += 1
            return 2.0 * learning_rate

        def update_step(self, gradient, variable, prepared):
            variable.assign_sub((1.0 + self.index_of(variable)) * prepared * gradient)

    variables = [keras.Variable(1.0), keras.Variable(1.0)]
    optimizer = Counted(learning_rate=0.25, name="counted")
    optimizer.apply([tf.constant(1.0), tf.constant(1.0)], variables)
    assert optimizer.calls == 1
    assert [float(variable) for variable in variables] == [0.5, 0.0]


def test_the_keywords_of_a_distribution_are_split():
    normal = tfp.distributions.Normal(0.0, 1.0)
    flow = tfp.distributions.TransformedDistribution(normal, tfp.bijectors.Exp())
    given = {"distribution_kwargs": {"a": 1}, "bijector_kwargs": {"b": 2}}
    assert internals.split_kwargs(flow, given) == ({"a": 1}, {"b": 2})


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


def test_graphs_tell_whether_xla_compiles_them():
    seen = []

    def traced():
        seen.append(internals.is_traced_for_xla())
        tf.function(lambda: seen.append(internals.is_traced_for_xla()))()
        return tf.constant(0)

    tf.function(traced)()
    tf.function(traced, jit_compile=True)()
    assert seen == [False, False, True, True] and not internals.is_traced_for_xla()


def test_vectorized_map_calls_a_function_of_rows_once():
    traces = []

    def scaled(x, scale):
        traces.append(x)
        return [scale * x]

    specs = [tf.TensorSpec([None, 2]), tf.TensorSpec([])]
    function = internals.noinline_function(scaled, specs, [True, False])
    x = tf.reshape(tf.range(24.0), [4, 3, 2])
    for _ in range(2):
        found = tf.vectorized_map(lambda x: function(x, tf.constant(3.0))[0], x)
        np.testing.assert_array_equal(found, 3.0 * x)
    # Elements that differ in a shared tensor are converted by TensorFlow.
    found = tf.vectorized_map(lambda x: function(x, x[0, 1])[0], x)
    np.testing.assert_array_equal(found, x[:, :1, 1:] * x)
    assert len(traces) == 1
