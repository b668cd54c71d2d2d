"""Fits and evaluates on several replicas, with the results of a single device."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.internals import CACHED_EVALUATION, BuiltFromPart


class ReplicatedModel(BuiltFromPart):
    """A `keras.Model` that takes the step of the global batch under any distribution strategy.

    The replicas may be in one process or in several.  Every replica takes its part of each batch,
    in order; the number of replicas need not divide the batch.  Metrics are over all replicas.
    With one replica, the methods of Keras are used unchanged.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch"):
            if name in vars(cls):
                setattr(cls, name, _in_keras_order(vars(cls)[name]))
        if "build" in vars(cls):
            cls.build = _in_own_scope(cls.build)

    train_function: Callable | None
    test_function: Callable | None

    @property
    def replicas(self) -> int:
        """Number of replicas that train together."""
        return self.distribute_strategy.num_replicas_in_sync

    def make_train_function(self, force: bool = False) -> None:
        if self.replicas == 1:
            if self.built and not self.optimizer.built:
                # XLA cannot make the optimizer's variables in its first step.
                self.optimizer.build(self.trainable_variables)
            super().make_train_function(force)
        elif self.train_function is None or force:
            self.train_function = self._on_replicas(self._train_on_part)

    def make_test_function(self, force: bool = False) -> None:
        if self.replicas == 1:
            super().make_test_function(force)
        elif self.test_function is None or force:
            self.test_function = self._on_replicas(self._test_on_part)

    def _on_replicas(self, step: Callable) -> Callable:
        """Returns a function that runs a step on the replicas' parts of the next batch.

        The function that Keras makes fails on several workers.
        """
        strategy = self.distribute_strategy
        if self.steps_per_execution != 1:
            raise ValueError(
                f"Several replicas take one step at a time; received steps_per_execution="
                f"{self.steps_per_execution}. Leave it out of compile."
            )
        if self.jit_compile:
            raise ValueError(
                "XLA cannot compile the step of several replicas; received jit_compile=True and "
                f"{self.replicas} replicas. Leave jit_compile out of compile."
            )

        def on_batch(batch):
            names = strategy.run(step, args=(batch,))
            # Outside the replicas, the result of a metric is over all of them.
            results = self.get_metrics_result()
            return {name: results[name] for name in names}

        if not self.run_eagerly:
            on_batch = tf.function(on_batch, autograph=False, reduce_retracing=True)

        def on_next(iterator):
            return on_batch(next(iterator))

        # A part that is taken from the iterator inside the function has an unknown size on every
        # replica, so all replicas trace the same gradients and equally many sums over replicas.
        on_next_part = on_next if self.run_eagerly else tf.function(on_next, autograph=False)

        def function(iterator):
            are_parts = isinstance(iterator, tf.distribute.DistributedIterator)
            return (on_next_part if are_parts else on_next)(iterator)

        return function

    def _train_on_part(self, batch: Any) -> dict[str, tf.Tensor]:
        """Takes a step on a part of a batch; fails without examples, which give no gradients."""
        some = tf.debugging.assert_positive(
            _size(batch),
            f"A batch has fewer examples than there are replicas, {self.replicas}. Choose another "
            "batch size, or drop the remainder.",
        )
        with tf.control_dependencies([some]):
            return self.train_step(_mapped(tf.identity, batch))

    def _test_on_part(self, batch: Any) -> dict[str, tf.Tensor]:
        """Evaluates a part of a batch; the part of a small last batch may have no examples.

        A replica without examples evaluates zeros, and then restores its metrics.
        """
        empty = _size(batch) == 0
        variables = [variable for metric in self.metrics for variable in metric.variables]
        before = [tf.identity(variable.value) for variable in variables]
        zeros = tf.cast(empty, tf.int32)
        results = self.test_step(_mapped(lambda tensor: _padded(tensor, zeros), batch))
        for variable, value in zip(variables, before):
            variable.assign(tf.where(empty, value, variable.value))
        return results

    def _require_one_replica(self, method: str, instead: str) -> None:
        """Raises `ValueError` for a method that does not divide a batch among several replicas."""
        if self.replicas > 1:
            raise ValueError(
                f"{method} would give each of the {self.replicas} replicas the whole batch. Use "
                f"{instead}, which divides the batch among them."
            )

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> keras.callbacks.History:
        if self.replicas > 1 and isinstance(x, tf.data.Dataset):
            x, steps = parted(x, self.distribute_strategy, kwargs.get("steps_per_epoch"))
            kwargs["steps_per_epoch"] = steps
        elif self.replicas > 1 and self.distribute_strategy.cluster_resolver is not None:
            raise ValueError(
                "On several workers fit takes a batched tf.data.Dataset, the same on every worker; "
                f"received {type(x).__name__}."
            )
        return super().fit(x, y, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        if self.replicas > 1:
            # In fit, Keras caches validation data that it has divided in another order.
            kwargs.pop(CACHED_EVALUATION, None)
            if not isinstance(x, tf.data.Dataset):
                data = (x, y, kwargs.pop("sample_weight", None))
                arrays = tuple(np.asarray(array) for array in data if array is not None)
                batch_size = kwargs.pop("batch_size", None) or 32
                x = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)
                y = None
            x, kwargs["steps"] = parted(x, self.distribute_strategy, kwargs.get("steps"))
        return super().evaluate(x, y, **kwargs)


def _in_own_scope(build):
    """Returns a ``build`` whose variables are those of the model's strategy, wherever it is called.

    Other variables would make the first step on several replicas fail.
    """

    @functools.wraps(build)
    def built(self, input_shape):
        scope = self.distribute_strategy.scope() if self.replicas > 1 else contextlib.nullcontext()
        with scope:
            build(self, input_shape)

    return built


def _in_keras_order(method: Callable) -> Callable:
    """Lets a method take arguments by position, in the order of the method of `keras.Model`."""
    names = list(inspect.signature(getattr(keras.Model, method.__name__)).parameters)[1:]

    @functools.wraps(method)
    def ordered(self, *args, **kwargs):
        return method(self, **dict(zip(names, args)), **kwargs)

    return ordered


def parted(
    dataset: tf.data.Dataset, strategy: tf.distribute.Strategy, steps: int | None = None
) -> tuple[Iterator, int]:
    """Divides every batch of a dataset among the replicas, in order.

    Each of ``R`` replicas takes ``⌊n/R⌋`` of the ``n`` examples of a batch, and the first
    ``n mod R`` replicas take one more.  Every worker reads the whole, identical dataset.

    Args:
        dataset: batched dataset.
        strategy: strategy of the replicas.
        steps: number of batches of an epoch; by default that of the dataset.

    Returns:
        the endless `tf.distribute.DistributedDataset`, and ``steps``.

    Raises:
        ValueError: without ``steps``, for a dataset whose length is not known.
    """
    if steps is None:
        steps = int(dataset.cardinality())
        if steps < 0:
            raise ValueError(
                "On several replicas a dataset of unknown or infinite length needs its number of "
                "batches: steps_per_epoch of fit, steps of evaluate."
            )
    replicas = strategy.num_replicas_in_sync

    def parts(context):
        local = replicas // context.num_input_pipelines
        mine = tf.range(local, dtype=tf.int64) + context.input_pipeline_id * local

        def cut(*batch):
            examples = tf.cast(_size(batch), tf.int64)
            size, remainder = examples // replicas, examples % replicas

            def part(replica):
                start = replica * size + tf.minimum(replica, remainder)
                stop = start + size + tf.cast(replica < remainder, tf.int64)
                return tuple(tensor[start:stop] for tensor in batch)

            return tf.data.Dataset.from_tensor_slices(mine).map(part)

        endless = dataset.repeat().flat_map(cut)
        return endless.apply(
            tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        ).prefetch(2 * local)

    return strategy.distribute_datasets_from_function(parts), steps


def _size(batch: Any) -> tf.Tensor:
    """Returns the number of examples of a batch."""
    return tf.shape(tf.nest.flatten(batch)[0])[0]


def _mapped(function: Callable, batch: Any) -> Any:
    """Applies a function to every tensor of a batch and leaves ``None`` unchanged."""
    return tf.nest.map_structure(lambda leaf: None if leaf is None else function(leaf), batch)


def _padded(tensor: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns a tensor with ``count`` rows of zeros appended."""
    return tf.pad(tensor, [[0, count]] + [[0, 0]] * (len(tensor.shape) - 1))
