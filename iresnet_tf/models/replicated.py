"""Fitting and evaluating on several replicas, in one process or in many, as on one device."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


class ReplicatedModel(keras.Model):
    """A `keras.Model` whose steps are those of the global batch under any distribution strategy.

    Every replica takes its part of each batch, in order, whether or not the batch divides by
    the replicas; figures are those of all replicas.  With one replica all is Keras's own.
    """

    train_function: Callable | None
    test_function: Callable | None

    @property
    def replicas(self):
        """Number of replicas that train together."""
        return self.distribute_strategy.num_replicas_in_sync

    def make_train_function(self, force=False):
        if self.replicas == 1:
            super().make_train_function(force)
        elif self.train_function is None or force:
            self.train_function = self._on_replicas(self._train_on_part)

    def make_test_function(self, force=False):
        if self.replicas == 1:
            super().make_test_function(force)
        elif self.test_function is None or force:
            self.test_function = self._on_replicas(self._test_on_part)

    def _on_replicas(self, step):
        """Runs a step on the replicas' parts of a batch; Keras's own fails on several workers."""
        strategy = self.distribute_strategy
        if self.steps_per_execution != 1:
            raise ValueError(
                f"Several replicas take one step at a time; received steps_per_execution="
                f"{self.steps_per_execution}. Leave it out of compile."
            )

        def on_batch(batch):
            names = strategy.run(step, args=(batch,))
            # Outside the replicas a metric is that of all of them.
            results = self.get_metrics_result()
            return {name: results[name] for name in names}

        if not self.run_eagerly:
            options = {"reduce_retracing": True, "jit_compile": self.jit_compile}
            on_batch = tf.function(on_batch, autograph=False, **options)

        def on_next(iterator):
            return on_batch(next(iterator))

        # Taken inside, a part has a shape as unknown to one replica as to the others, and so its
        # gradients need as many sums over the replicas.
        on_next_part = on_next if self.run_eagerly else tf.function(on_next, autograph=False)

        def function(iterator):
            are_parts = isinstance(iterator, tf.distribute.DistributedIterator)
            return (on_next_part if are_parts else on_next)(iterator)

        return function

    def _train_on_part(self, batch):
        """Refuses a part without examples: it would not do with the sums over the replicas."""
        some = tf.debugging.assert_positive(
            _size(batch),
            f"A batch has fewer examples than there are replicas, {self.replicas}. Choose another "
            "batch size, or drop the remainder.",
        )
        with tf.control_dependencies([some]):
            return self.train_step(_mapped(tf.identity, batch))

    def _test_on_part(self, batch):
        """A replica without examples, of a small last batch, evaluates zeros and forgets it."""
        empty = _size(batch) == 0
        variables = [variable for metric in self.metrics for variable in metric.variables]
        before = [tf.identity(variable.value) for variable in variables]
        zeros = tf.cast(empty, tf.int32)
        results = self.test_step(_mapped(lambda each: _longer(each, zeros), batch))
        for variable, value in zip(variables, before):
            variable.assign(tf.where(empty, value, variable.value))
        return results

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        self._require_one_replica("train_on_batch", "fit")
        return super().train_on_batch(x, y, sample_weight, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        self._require_one_replica("test_on_batch", "evaluate")
        return super().test_on_batch(x, y, sample_weight, **kwargs)

    def _require_one_replica(self, method, instead):
        if self.replicas > 1:
            raise ValueError(
                f"{method} would give each of the {self.replicas} replicas the whole batch. Use "
                f"{instead}, which gives every one its part."
            )

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if self.replicas == 1 or iterator is None:
            super()._maybe_symbolic_build(iterator, data_batch)
            return
        # Keras would average the parts of a batch, which may differ in size.
        spec = tf.nest.map_structure(
            lambda each: getattr(each, "_value_specs", [each])[0],
            iterator._distributed_dataset.element_spec,
        )
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=spec)

    def fit(self, x=None, y=None, **kwargs):
        if self.replicas > 1 and isinstance(x, tf.data.Dataset):
            x, steps = parted(x, self.distribute_strategy, kwargs.get("steps_per_epoch"))
            kwargs["steps_per_epoch"] = steps
        elif self.replicas > 1 and self.distribute_strategy.cluster_resolver is not None:
            raise ValueError(
                "On several workers fit takes a batched tf.data.Dataset, the same on every worker; "
                f"received {type(x).__name__}."
            )
        return super().fit(x, y, **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        if self.replicas > 1:
            # What fit has made of its validation data, each replica's part in another order.
            kwargs.pop("_use_cached_eval_dataset", None)
            if not isinstance(x, tf.data.Dataset):
                given = (x, y, kwargs.pop("sample_weight", None))
                arrays = tuple(np.asarray(each) for each in given if each is not None)
                batch_size = kwargs.pop("batch_size", None) or 32
                x = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)
                y = None
            x, kwargs["steps"] = parted(x, self.distribute_strategy, kwargs.get("steps"))
        return super().evaluate(x, y, **kwargs)


def parted(dataset, strategy, steps=None):
    """The parts of a dataset's batches, each replica's in its place.

    Of ``n`` examples on ``R`` replicas every one takes ``⌊n/R⌋``, the first ``n mod R`` one
    more.  All workers go through the whole dataset, which is the same on each.

    Args:
        dataset: batched `tf.data.Dataset`.
        strategy: `tf.distribute.Strategy`.
        steps: batches of an epoch; by default as many as the dataset has.

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
            size, more = examples // replicas, examples % replicas

            def part(replica):
                start = replica * size + tf.minimum(replica, more)
                stop = start + size + tf.cast(replica < more, tf.int64)
                return tuple(each[start:stop] for each in batch)

            return tf.data.Dataset.from_tensor_slices(mine).map(part)

        endless = dataset.repeat().flat_map(cut)
        return endless.apply(
            tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        ).prefetch(2 * local)

    return strategy.distribute_datasets_from_function(parts), steps


def _size(batch):
    return tf.shape(tf.nest.flatten(batch)[0])[0]


def _mapped(function, batch):
    return tf.nest.map_structure(lambda each: None if each is None else function(each), batch)


def _longer(tensor, count):
    """With ``count`` zeros more at the end."""
    return tf.pad(tensor, [[0, count]] + [[0, 0]] * (len(tensor.shape) - 1))
