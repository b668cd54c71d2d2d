"""How a model around an invertible map is fitted, evaluated and applied to data sets."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers import Stack, refresh, residual_blocks
from iresnet_tf.layers.finiteness import layers_not_finite
from iresnet_tf.layers.inputs import REMEDY, as_tensor
from iresnet_tf.models import inputs
from iresnet_tf.models.replicated import ReplicatedModel
from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import replicas


class FittedModel(ReplicatedModel):
    """Fits a model around the invertible map ``flow``.

    ``fit`` begins with the data-dependent initialisation and ends with refined spectral vectors;
    ``evaluate`` begins with them.  A step is traced anew once a block has been given another
    estimator or solver.  A step that meets NaN or Inf fails with the name of the layer.

    A subclass has the map ``flow``, and ``dequantized``, which adds the noise of discrete data:
    see `FlowModel`.
    """

    flow: Stack

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._made_for: dict[str, list[str]] = {}
        # Mean over the steps of an epoch of the largest |∂loss/∂w| of a step.
        self.max_gradient = keras.metrics.Mean(name="max_gradient")

    # Steps.

    def make_train_function(self, force: bool = False) -> None:
        super().make_train_function(self._is_outdated("train") or force)

    def make_test_function(self, force: bool = False) -> None:
        super().make_test_function(self._is_outdated("test") or force)

    def make_predict_function(self, force: bool = False) -> None:
        super().make_predict_function(self._is_outdated("predict") or force)

    def _is_outdated(self, step: str) -> bool:
        """Tells whether a step was made for other estimators or solvers; notes those of now."""
        now = [repr((block.log_det, block.solver)) for block in residual_blocks(self.flow)]
        before, self._made_for[step] = self._made_for.get(step, now), now
        return before != now

    def _descend(self, gradients: Sequence[tf.Tensor | None]) -> None:
        """Takes one step of the optimizer, down the sum of the gradients of all replicas."""
        gradients = replicas.all_reduce_sum(gradients)
        # The optimizer clips the gradients of each replica, and then adds them up: only the
        # first replica gives it the sum.
        given = replicas.keep_on_first(gradients)
        self.optimizer.apply_gradients(zip(given, self.trainable_variables))
        largest = [tf.reduce_max(tf.abs(each)) for each in gradients if each is not None]
        self.max_gradient.update_state(tf.reduce_max(largest))

    @contextlib.contextmanager
    def _named_failures(self) -> Iterator[None]:
        """Reduces the error of a step that met NaN or Inf to the name of the layer."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            named = r"\S+ (received|returned) NaN or Inf.*?" + re.escape(REMEDY)
            found = re.search(named, error.message)
            if found is None:
                raise
            spoiled = layers_not_finite(self)
            weights = f" Weights that are not finite: of {', '.join(spoiled)}." if spoiled else ""
            raise tf.errors.InvalidArgumentError(None, None, found[0] + weights) from None

    # Fitting and applying.

    def initialize(self, x: tf.Tensor, *, context: tf.Tensor | None = None) -> None:
        """Initialises the layers that depend on the first data (`ActNorm`).

        It does so once in the life of a model; later calls change nothing.

        Args:
            x: a batch of data, ``[batch, …event]``.
            context: ``[batch, …context_shape]``, for a model that takes one.
        """
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        if not self.flow.is_initialized():
            noisy = self.dequantized(x, random.fold_in(tf.constant([0, -1]), 0))
            self.flow.initialize(noisy, context=self.flow._condition(context, x))

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Fits like `keras.Model.fit`; begins with `initialize`, ends with refined vectors.

        Args:
            x: array or tensor ``[examples, …event]``, or a batched `tf.data.Dataset`
                (of ``x``, ``(x, y)`` or ``(x, y, sample_weight)``).
            y: targets, for a model that takes any.
            **kwargs: options of `keras.Model.fit`.  A ``sample_weight`` counts relative to the
                others of its batch.

        Raises:
            ValueError: for other data, or none.
        """
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)
        held_out = kwargs.get("validation_split") or 0.0
        examples, context = self._first_examples(x, y, 1024, held_out)
        self._require_event_shape(x)
        with self.distribute_strategy.scope():
            self.initialize(examples, context=context)
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple) and len(validation) == 3:
            validation_x, targets, weights = validation
            targets = inputs.targets_or_zeros(targets, weights)
            kwargs["validation_data"] = validation_x, targets, weights
        targets = inputs.targets_or_zeros(y, kwargs.get("sample_weight"))
        with self._named_failures():
            history = super().fit(x, targets, **kwargs)
        refresh(self)
        return history

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        """Trains like `keras.Model.train_on_batch`; begins with `initialize`."""
        if not (self.built and self.flow.is_initialized()):
            examples, context = self._first_examples(x, y, len(x))
            self.initialize(examples, context=context)
        self._require_event_shape(x)
        return super().train_on_batch(
            x, inputs.targets_or_zeros(y, sample_weight), sample_weight, **kwargs
        )

    def _first_examples(
        self, x, y, wanted: int, held_out: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns about ``wanted`` training examples and their contexts, for `initialize`."""
        del y
        return inputs.first_examples(x, wanted, held_out), None

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Evaluates like `keras.Model.evaluate`; begins with refined spectral vectors."""
        self._build_for(x)
        refresh(self)
        return super().evaluate(
            x, inputs.targets_or_zeros(y, kwargs.get("sample_weight")), **kwargs
        )

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Predicts like `keras.Model.predict`; builds the model if it is new."""
        self._build_for(x)
        return super().predict(x, **kwargs)

    def _build_for(self, x) -> None:
        if not self.built:
            with self.distribute_strategy.scope():
                self.build(inputs.first_examples(x).shape)
        self._require_event_shape(x)

    def _require_event_shape(self, x) -> None:
        """Refuses data of another shape here, where it is known: a traced step may not know it."""
        shape = inputs.static_shape(x)
        if self.built and not shape[1:].is_compatible_with(self.flow.event_shape):
            if shape.is_compatible_with(self.flow.event_shape):
                raise ValueError(
                    f"{self.name} takes batches of samples; received data of shape {shape}, that "
                    "of one sample. Batch the dataset, or give the array a leading axis."
                )
            raise ValueError(
                f"{self.name} was built for samples of shape {tuple(self.flow.event_shape)}; "
                f"received data of shape {shape}. Reshape the data, or make a new model."
            )


def seed_value(seed: int | None) -> int:
    """Returns ``seed`` if it is valid, and a fresh seed for ``None``.

    Raises:
        ValueError: for anything else than an integer from 0 to 2³¹ − 1.
    """
    if seed is None:
        return int(np.random.randint(0, 2**31 - 1))
    if seed != int(seed) or not 0 <= seed < 2**31:
        raise ValueError(f"seed is an integer from 0 to 2**31 − 1; received {seed!r}.")
    return int(seed)
