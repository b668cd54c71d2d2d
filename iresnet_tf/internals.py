"""All uses of private parts of Keras, TensorFlow and TensorFlow Probability, with their reasons.

They work with Keras 3.12 to 3.15, TensorFlow 2.21 and TensorFlow Probability 0.25; the tests of
this file fail when one of these parts changes.
"""

import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.autograph.core import config as autograph
from tensorflow.python.ops.parallel_for import pfor

# A `tf.function` of a user would rewrite the source of this package at its first trace, although
# nothing here needs it; that took half of the time of a trace.  There is no public list.
_RULE = autograph.DoNotConvert(__package__)
autograph.CONVERSION_RULES = (_RULE, *autograph.CONVERSION_RULES)


def noinline_function(
    function: Callable, input_signature: list | None = None, rows: Sequence[bool] | None = None
) -> Any:
    """Returns a `tf.function` that graphs call instead of copying its body.

    A copy for every block of a training step would fill the memory.  The attribute ``_noinline``
    is not documented.

    Args:
        function: takes and returns tensors in nests.
        input_signature: of the `tf.function`.
        rows: for each tensor of the signature, whether it is ``[batch, …]``, or ``[1, …]`` for all
            samples alike; the last of them with ``True`` is ``[batch, …]``, as are all results.
            `tf.vectorized_map` then calls the function once: see `_call_with_all_rows`.
    """

    def body(*arguments):
        if rows is not None:
            graph = tf.compat.v1.get_default_graph()
            graph._iresnet_tf_rows = weakref.ref(called), input_signature, rows
        return function(*arguments)

    called = tf.function(
        # TensorFlow counts traces by code object and warns of many; a partial has no code object.
        functools.partial(body),
        autograph=False,
        input_signature=input_signature,
        experimental_attributes={"_noinline": True},
    )
    return called


def _call_with_all_rows(convert: Callable, pfor_input: Any) -> list:
    """Converts a call within `tf.vectorized_map` to one call with the rows of all its elements.

    ``tensorflow.python.ops.parallel_for.pfor``: its table of converters has no public interface.
    TensorFlow would convert each operation inside the function, at every eager call, which takes
    seconds for a solver.  It still does so for functions without ``rows``, if the elements differ
    in another tensor, for the further results that a gradient inside the map needs, and if the
    function uses a seed, with which every element draws as the first rows of a batch.
    """
    graph = pfor_input.op.graph._get_function(pfor_input.get_attr("f").name).graph
    reference, signature, rows = getattr(graph, "_iresnet_tf_rows", (lambda: None, None, ()))
    called: Any = reference()
    inputs = pfor_input.inputs
    if (
        called is None
        or len(pfor_input.outputs) != len(tf.nest.flatten(graph.structured_outputs))
        or any(each.is_stacked and not is_rows for is_rows, each in zip(rows, inputs))
        or any(each.dtype.is_integer and each.consumers() for each in graph.inputs)
    ):
        return convert(pfor_input)
    count = pfor_input.pfor.loop_len_vector[0]
    last = [each for is_rows, each in zip(rows, inputs) if is_rows][-1]
    batch = tf.shape(last.t)[1 if last.is_stacked else 0]

    def all_rows(each):
        whole = each.t if each.is_stacked else each.t[tf.newaxis]
        event = tf.shape(whole)[2:]
        whole = tf.broadcast_to(whole, tf.concat([[count, batch], event], 0))
        return tf.reshape(whole, tf.concat([[count * batch], event], 0))

    flat = [all_rows(each) if is_rows else each.t for is_rows, each in zip(rows, inputs)]
    results = called(*tf.nest.pack_sequence_as(signature, flat))
    return [
        pfor.wrap(tf.reshape(each, tf.concat([[count, batch], tf.shape(each)[1:]], 0)), True)
        for each in tf.nest.flatten(results)
    ]


for _kind in ("PartitionedCall", "StatefulPartitionedCall"):
    _converters = pfor._pfor_converter_registry
    _converters[_kind] = functools.partial(_call_with_all_rows, _converters[_kind])


def is_traced_for_xla() -> bool:
    """Returns whether the present graph is traced for ``jit_compile=True`` or a TPU.

    ``tf.__internal__.get_enclosing_xla_context``: there is no public way to ask.
    """
    return not tf.executing_eagerly() and tf.__internal__.get_enclosing_xla_context() is not None


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers that a Keras layer or model holds directly, in order.

    ``Layer._flatten_layers``: ``Model.layers`` is the public list of a model; layers have none.
    """
    return list(layer._flatten_layers(include_self=False, recursive=False))


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a Keras layer or model, and then all layers inside it in no particular order."""
    return list(layer._flatten_layers())


def takes_training(layer: keras.layers.Layer) -> bool:
    """Returns whether ``layer.call`` has an argument ``training``.

    ``Layer._call_has_training_arg``: Keras inspects ``call`` when the layer is constructed.
    """
    return layer._call_has_training_arg


def added_losses(layer: keras.layers.Layer) -> list[tf.Tensor]:
    """Returns what the layer itself has given to ``add_loss`` in its last call.

    ``Layer._get_own_losses``: ``Layer.losses`` also has the regularizers and the inner layers'.
    """
    return layer._get_own_losses()


def stored_value(weight: keras.Variable) -> tf.Tensor:
    """Returns the value of a Keras weight in the dtype in which it is stored.

    ``Variable._value``: under a mixed dtype policy ``Variable.value`` is cast inside a call.
    """
    return tf.convert_to_tensor(weight._value)


def constrain_bare_variable(weight: keras.Variable) -> None:
    """Sets the constraint of a Keras weight on its TensorFlow variable too.

    ``Variable._constraint``: a Keras optimizer in a loop of TensorFlow Probability receives only
    the bare variable.
    """
    weight.value._constraint = weight.constraint


def moving_averages(
    optimizer: keras.optimizers.Optimizer,
) -> Iterable[tuple[keras.Variable, keras.Variable]]:
    """Returns pairs of a trainable variable and the optimizer's moving average of it.

    ``Optimizer._trainable_variables`` and ``_model_variables_moving_average``: publicly, Keras
    only copies the averages into the variables.
    """
    return zip(optimizer._trainable_variables, optimizer._model_variables_moving_average)


CACHED_EVALUATION = "_use_cached_eval_dataset"
"""Keyword by which ``Model.fit`` asks ``Model.evaluate`` to cache the validation data."""


class BuiltFromPart(keras.Model):
    """A `keras.Model` that is built for the part of a batch that one replica receives.

    ``Model._maybe_symbolic_build``: Keras would take a batch, which a generator yields only once,
    and combine its parts, which may differ in size, into one specification.
    ``Model._distribute_strategy`` is ``None`` outside strategies;
    ``DistributedIterator._distributed_dataset`` and ``PerReplicaSpec._value_specs`` have the
    specification of one part.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if self._distribute_strategy is None or iterator is None:
            super()._maybe_symbolic_build(iterator, data_batch)
            return
        part = tf.nest.map_structure(
            lambda spec: getattr(spec, "_value_specs", [spec])[0],
            iterator._distributed_dataset.element_spec,
        )
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=part)


class PreparedOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer that prepares each step once for all variables.

    ``Optimizer._backend_update_step`` passes the result of `prepare_step` to every
    ``update_step`` in place of the learning rate; ``_get_variable_index`` finds the moments of a
    variable.
    """

    def prepare_step(self, variables: Sequence[keras.Variable], learning_rate: tf.Tensor) -> Any:
        """Returns the last argument of every ``update_step``."""
        raise NotImplementedError

    def index_of(self, variable: keras.Variable) -> int:
        """Returns the index of a variable among those for which the optimizer was built."""
        return self._get_variable_index(variable)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        prepared = self.prepare_step(trainable_variables, learning_rate)
        super()._backend_update_step(grads, trainable_variables, prepared)


def micro_steps(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """Returns the number of gradients that the optimizer has received, int32.

    ``Optimizer._iterations``: with ``gradient_accumulation_steps`` several of them make one step,
    and ``Optimizer.iterations`` counts the steps.
    """
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return tf.cast(optimizer._iterations.value, tf.int32)


def adam_moments(optimizer: keras.optimizers.Optimizer) -> tuple[list, list]:
    """Returns the lists of moments ``m`` and ``v`` of all variables of `keras.optimizers.Adam`."""
    return optimizer._momentums, optimizer._velocities


def adamax_moments(optimizer: keras.optimizers.Optimizer) -> tuple[list, list]:
    """Returns the lists of moments ``m`` and ``u`` of all variables of Adamax."""
    return optimizer._m, optimizer._u


def split_kwargs(
    distribution: Any, kwargs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the keywords of the base and of the bijector of a transformed distribution.

    ``TransformedDistribution._kwargs_split_fn``.
    """
    return distribution._kwargs_split_fn(kwargs)


def trace_cache(bijector: Any) -> Any:
    """Returns the cache of a bijector for the graph being traced; in eager mode an empty one.

    ``tensorflow_probability.python.internal.cache_util``: TFP has no public way to choose where
    a bijector's results are stored.  Here they are an attribute of the graph and vanish with it.
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
