"""Every use of a private part of Keras, TensorFlow or TensorFlow Probability, with its reason.

Checked on Keras 3.12 to 3.15, TensorFlow 2.21 and TensorFlow Probability 0.25; the tests of this
file fail when one of these parts changes.
"""

import functools

import tensorflow as tf

NOINLINE = {"_noinline": True}
"""Attributes of a `tf.function` that stays one function wherever a graph calls it.

TensorFlow would copy its body into the graph of a training step for each of the blocks that call
it, which fills the memory.  ``experimental_attributes`` takes the name; it is not documented.
"""


def noinline_function(function, input_signature=None):
    """Returns a `tf.function` that graphs call instead of copying it."""
    return tf.function(
        # TensorFlow counts traces by code and warns of many; a partial has no code of its own.
        functools.partial(function),
        autograph=False,
        input_signature=input_signature,
        experimental_attributes=NOINLINE,
    )


def inner_layers(layer):
    """Returns the layers that a Keras layer or model holds directly, in order.

    ``Layer._flatten_layers``: ``Model.layers`` gives the same of models; layers have no public
    list.
    """
    return list(layer._flatten_layers(include_self=False, recursive=False))


def all_layers(layer):
    """Returns a Keras layer or model and all layers inside it, in order: see `inner_layers`."""
    return list(layer._flatten_layers())


def takes_training(layer):
    """Whether ``layer.call`` has an argument ``training``.

    ``Layer._call_has_training_arg``: Keras finds it out when the layer is made.
    """
    return layer._call_has_training_arg


def constrain_bare_variable(weight):
    """Gives the TensorFlow variable of a Keras weight the constraint of the weight.

    ``Variable._constraint``: an optimizer in a loop of TensorFlow Probability sees the bare
    variable alone.
    """
    weight.value._constraint = weight.constraint


def moving_averages(optimizer):
    """Returns pairs of a trainable variable and the optimizer's moving average of it.

    ``Optimizer._trainable_variables`` and ``_model_variables_moving_average``: Keras can copy
    the averages into the variables, but not give them.
    """
    return zip(optimizer._trainable_variables, optimizer._model_variables_moving_average)


def batch_spec(iterator):
    """Returns the specification of one replica's batch, of an iterator of a distributed dataset.

    ``DistributedIterator._distributed_dataset`` and ``PerReplicaSpec._value_specs``.
    """
    return tf.nest.map_structure(
        lambda each: getattr(each, "_value_specs", [each])[0],
        iterator._distributed_dataset.element_spec,
    )


def trace_cache(bijector):
    """Returns the cache of a bijector for the graph being traced; in eager mode an empty one.

    ``tensorflow_probability.python.internal.cache_util``: TFP has no public way to choose where
    a bijector's results are kept.  The storage is an attribute of the graph, gone with it.
    """
    from tensorflow_probability.python.internal import cache_util

    storage = cache_util.EphemeralDict()
    if not tf.executing_eagerly():
        graph = tf.compat.v1.get_default_graph()
        storage = getattr(graph, "_iresnet_tf_bijector_cache", storage)
        graph._iresnet_tf_bijector_cache = storage
    return cache_util.BijectorCache(
        bijector=bijector, bijector_class=type(bijector), storage=storage
    )
