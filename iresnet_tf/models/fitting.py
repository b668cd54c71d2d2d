"""Fits and evaluates a model around an invertible map, and applies it to data sets."""

import contextlib
import functools
import re
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.internals import all_layers
from iresnet_tf.layers import Invertible, Stack, refresh, residual_blocks
from iresnet_tf.layers.economy import NO_ECONOMY, Economy
from iresnet_tf.layers.finiteness import layers_not_finite
from iresnet_tf.layers.inputs import REMEDY, as_tensor
from iresnet_tf.models import batches, inputs, units
from iresnet_tf.models.replicated import ReplicatedModel
from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import replicas, tensor_float_32


class FittedModel(ReplicatedModel):
    """Fits a model around the invertible map ``flow``.

    ``fit`` starts with the data-dependent initialisation and ends by refining the spectral vectors;
    ``evaluate`` starts by refining them.  A step is traced again after a block has received another
    estimator or solver.  A step in which NaN or Inf occurs fails with the name of the layer.  A
    call that fails before it has completed a step leaves a built model unchanged.

    A subclass has ``flow``, and ``dequantized``, which adds the noise of discrete data.
    """

    flow: Stack
    predict_function: Callable | None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._made_for: dict[str, list[tuple]] = {}
        self._steps = types.SimpleNamespace(taken=0)
        self.economy = NO_ECONOMY
        # The largest |∂loss/∂w| of each step, averaged over the steps of an epoch.
        self.max_gradient = keras.metrics.Mean(name="max_gradient")

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "rmsprop",
        economy: Economy = NO_ECONOMY,
        **kwargs: Any,
    ) -> None:
        economy.require_fitting(self.compute_dtype)
        super().compile(optimizer=optimizer, **kwargs)
        self.economy = economy
        # Metrics and losses adapt to their first data; another call of compile makes new ones.
        options = {**kwargs, "optimizer": self.optimizer}
        self._compile_again = functools.partial(super().compile, **options)

    def get_compile_config(self) -> dict[str, Any] | None:
        config = super().get_compile_config()
        return config and {**config, **self.economy.changed()}

    def make_train_function(self, force: bool = False) -> None:
        before = self.train_function
        super().make_train_function(self._is_outdated("train") or force)
        if self.train_function is not None and self.train_function is not before:
            self.train_function = self._counted(self.train_function)

    def _counted(self, function: Callable) -> Callable:
        """Returns a function that also counts its calls that succeed."""
        steps, dtype = self._steps, self.compute_dtype

        def step(iterator):
            tensor_float_32.require_off_unless_measured("Training", dtype)
            results = function(iterator)
            steps.taken += 1
            return results

        return step

    def make_test_function(self, force: bool = False) -> None:
        before = self.test_function
        super().make_test_function(self._is_outdated("test") or force)
        if self.test_function is not None and self.test_function is not before:
            self.test_function = self._in_float32("An evaluation", self.test_function)

    def make_predict_function(self, force: bool = False) -> None:
        before = self.predict_function
        super().make_predict_function(self._is_outdated("predict") or force)
        if self.predict_function is not None and self.predict_function is not before:
            self.predict_function = self._in_float32("A prediction", self.predict_function)

    def _in_float32(self, what: str, function: Callable) -> Callable:
        """Returns a function that refuses TF32 at every call, not only when it is traced."""
        dtype = self.compute_dtype

        def step(iterator):
            tensor_float_32.require_off(what, dtype)
            return function(iterator)

        return step

    def _is_outdated(self, step: str) -> bool:
        """Returns whether a step was made for other estimators or solvers; records the new ones."""
        now = [(block.log_det, block.solver) for block in residual_blocks(self.flow)]
        before, self._made_for[step] = self._made_for.get(step, now), now
        return before != now

    def _descend(self, gradients: Sequence[tf.Tensor | None]) -> None:
        """Takes one step of the optimizer, down the sum of the gradients of all replicas."""
        gradients = replicas.all_reduce_sum(gradients)
        # The optimizer clips the gradients of each replica, and then adds them up, so only the
        # first replica passes the sum on.
        on_first = replicas.keep_on_first(gradients)
        # Otherwise the step that finds the data used up would count as one.
        arrived = [g for g in on_first if g is not None][-1:] if self.replicas == 1 else []
        with tf.control_dependencies(arrived):
            self.optimizer.apply_gradients(zip(on_first, self.trainable_variables))
        largest = [tf.reduce_max(tf.abs(g)) for g in gradients if g is not None]
        # The gradients are those of the scaled loss.
        scale = tf.cast(self.optimizer.scale_loss(tf.ones([])), largest[0].dtype)
        step = tf.reduce_max(largest) / scale
        with tf.control_dependencies([step]):
            self.max_gradient.update_state(step)

    @contextlib.contextmanager
    def _named_failures(self) -> Iterator[None]:
        """Shortens the error of a step in which NaN or Inf occurred to the name of the layer."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            pattern = r"\S+ (received|returned) NaN or Inf.*?" + re.escape(REMEDY)
            match = re.search(pattern, error.message)
            if match is None:
                raise
            names = ", ".join(layers_not_finite(self))
            weights = f" The weights of {names} are not finite." if names else ""
            raise tf.errors.InvalidArgumentError(None, None, match[0] + weights) from None

    @contextlib.contextmanager
    def _undone_unless_begun(self) -> Iterator[None]:
        """Undoes a call that fails before it has completed a training step.

        The first trace creates variables, and the metrics adapt to its data, so a later call needs
        new functions and metrics.  A step that fails may have drawn random numbers.
        """
        parts = [part for part in all_layers(self.flow) if isinstance(part, Invertible)]
        first = [part for part in parts if not part.parts and not part.is_initialized()]
        changing = [*self.non_trainable_weights, *(w for part in first for w in part.weights)]
        if self.compiled:
            changing += [each for each in self.optimizer.variables if not each.shape]
        before, taken = [variable.numpy() for variable in changing], self._steps.taken
        try:
            yield
        except Exception:
            if self._steps.taken == taken:
                for variable, value in zip(changing, before):
                    variable.assign(value)
            self.train_function = self.test_function = None
            with self.distribute_strategy.scope():
                if self.compiled:
                    self._compile_again()
            raise

    def initialize(self, x: tf.Tensor, *, context: tf.Tensor | None = None) -> None:
        """Initialises the layers that depend on the first data (`ActNorm`), unless already done.

        Args:
            x: a batch of data, ``[batch, …event]``.  A warning tells if the first residual block
                receives numbers that are far from order 1.
            context: ``[batch, …context_shape]``, for a model that takes one.

        Raises:
            ValueError: if the data vary by little more than the rounding of the model's dtype.
        """
        units.require_resolved(x, self.compute_dtype)
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        if not self.flow.is_initialized():
            noisy = self.dequantized(x, random.fold_in(tf.constant([0, -1]), 0))
            self.flow.initialize(noisy, context=self.flow._condition(context, x))
        units.warn_of_units(self.flow, x)

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Fits like `keras.Model.fit`; starts with `initialize`, ends by refining the vectors.

        Args:
            x: array or tensor ``[examples, …event]``; or batches of ``x``, ``(x, y)`` or
                ``(x, y, sample_weight)``: a `tf.data.Dataset`, a `keras.utils.PyDataset`, or a
                generator, from which no batch is lost or repeated.  Shapes that a dataset does
                not tell are those of its first batch.
            y: targets, for a model that needs targets.
            **kwargs: options of `keras.Model.fit`.  A ``sample_weight`` is relative to the other
                weights of its batch.

        Raises:
            ValueError: for other data, or an empty array or dataset; for several epochs of a
                generator without their number of steps.
            tf.errors.InvalidArgumentError: if NaN or Inf occurs in a step.
        """
        if isinstance(x, (tf.data.Dataset, Iterator)):
            kwargs.setdefault("shuffle", False)
        epochs = kwargs.get("epochs", 1) - kwargs.get("initial_epoch", 0)
        x = self._opened(x, epochs, kwargs.get("steps_per_epoch"))
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple) and len(validation) == 3:
            held_x, held_y, weights = validation
            kwargs["validation_data"] = held_x, inputs.targets_or_zeros(held_y, weights), weights
        elif validation is not None:
            validation = self._opened(validation, epochs, kwargs.get("validation_steps"))
            kwargs["validation_data"] = batches.for_keras(validation)
        inputs.require_equal_lengths(x, y, kwargs.get("sample_weight"))
        held_out = kwargs.get("validation_split") or 0.0
        examples, context = self._first_examples(x, y, 1024, held_out)
        self._build_for(x, examples)
        self._require_trainable()
        targets = inputs.targets_or_zeros(y, kwargs.get("sample_weight"))
        with self._undone_unless_begun(), self._named_failures():
            with self.distribute_strategy.scope():
                self.initialize(examples, context=context)
            history = super().fit(batches.for_keras(x), targets, **kwargs)
        # A later step would have found them; a callback that ended the training has reported them.
        if not self.stop_training and (spoiled := layers_not_finite(self)):
            message = (
                "The last step had NaN or Inf in its loss or a gradient: the weights of "
                f"{', '.join(spoiled)} are not finite. {REMEDY}"
            )
            raise tf.errors.InvalidArgumentError(None, None, message)
        refresh(self)
        return history

    def _opened(self, x: Any, epochs: int = 1, steps: int | None = None) -> Any:
        """Returns opened data; refuses a generator that cannot serve all epochs."""
        if self.replicas > 1 and isinstance(x, (Iterator, keras.utils.PyDataset)):
            raise ValueError(
                "On several replicas the data are arrays or a batched tf.data.Dataset; received "
                f"{type(x).__name__}. Make it a dataset: tf.data.Dataset.from_generator."
            )
        if isinstance(x, Iterator) and steps is None and epochs > 1:
            raise ValueError(
                f"A generator yields its batches once; received one for {epochs} epochs. Give the "
                "number of batches of an epoch: steps_per_epoch, or validation_steps."
            )
        return batches.opened(x, None if steps is None else max(1, epochs * steps))

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        """Trains like `keras.Model.train_on_batch`; starts with `initialize`."""
        self._require_one_replica("train_on_batch", "fit")
        targets = inputs.targets_or_zeros(y, sample_weight)
        step = functools.partial(super().train_on_batch, x, targets, sample_weight, **kwargs)
        if self.train_function is not None and self.flow.is_initialized():
            self._require_event_shape(x)
            return step()
        inputs.require_equal_lengths(x, y, sample_weight)
        examples, context = self._first_examples(x, y, len(x))
        self._build_for(x, examples)
        self._require_trainable()
        with self._undone_unless_begun():
            self.initialize(examples, context=context)
            return step()

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any) -> Any:
        """Evaluates like `keras.Model.test_on_batch`; builds the model if it is new."""
        self._require_one_replica("test_on_batch", "evaluate")
        self._build_for(x)
        targets = inputs.targets_or_zeros(y, sample_weight)
        first = self.test_function is None
        with self._undone_unless_begun() if first else contextlib.nullcontext():
            return super().test_on_batch(x, targets, sample_weight, **kwargs)

    def _require_trainable(self) -> None:
        if not self.trainable_variables:
            raise ValueError(
                f"{self.name} has nothing to train: all of its weights are frozen. Set trainable = "
                "True of the model or of some layers, and compile it again."
            )

    def _first_examples(
        self, x, y, wanted: int, held_out: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns about ``wanted`` training examples and their contexts, for `initialize`."""
        del y
        return inputs.first_examples(x, wanted, held_out), None

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Evaluates like `keras.Model.evaluate`; starts by refining the spectral vectors."""
        x = self._opened(x)
        self._build_for(x)
        refresh(self)
        targets = inputs.targets_or_zeros(y, kwargs.get("sample_weight"))
        with self._undone_unless_begun(), self._named_failures():
            return super().evaluate(batches.for_keras(x), targets, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Predicts like `keras.Model.predict`; builds the model if it is not built."""
        x = self._opened(x)
        self._build_for(x)
        with self._named_failures():
            return super().predict(batches.for_keras(x), **kwargs)

    def _build_for(self, x, examples: np.ndarray | None = None) -> None:
        if not self.built:
            examples = inputs.first_examples(x) if examples is None else examples
            with self.distribute_strategy.scope():
                self.build(examples.shape)
        self._require_event_shape(x)

    def _require_event_shape(self, x) -> None:
        """Refuses data of another shape; inside a traced step the shape may be unknown."""
        if self.built:
            inputs.require_event_shape(x, self.flow.event_shape, self.name)
