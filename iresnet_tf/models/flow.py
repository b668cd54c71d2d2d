"""What every model of this package is: an invertible stack inside a `keras.Model`."""

import contextlib
import copy
import dataclasses
import re

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.bijectors import from_layer
from iresnet_tf.layers import Dequantize, Stack, lipschitz_bounds, refresh, residual_blocks
from iresnet_tf.layers.finiteness import layers_not_finite
from iresnet_tf.layers.inputs import REMEDY, as_tensor
from iresnet_tf.models import inputs, serving
from iresnet_tf.models.block_table import print_blocks
from iresnet_tf.models.replicated import ReplicatedModel
from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import replicas


class FlowModel(ReplicatedModel):
    """A `keras.Model` around an invertible ``F``: builds itself, inverts, certifies, saves.

    ``fit`` begins with the data-dependent initialisation and ends with refined spectral
    vectors; evaluation and saving begin with them.

    Args:
        layers: invertible layers, data side first.
        preprocessing: fixed invertible layers before them.
        seed: of the noise and probes drawn in ``fit`` and ``evaluate``; a fresh one
            by default (it follows `keras.utils.set_random_seed`).

    Raises:
        ValueError: for layers that are not invertible, or conditional where ``takes_context`` is
            not, or the reverse.
    """

    takes_context = False
    """Whether the map depends on a context beside the data."""

    has_density = False
    """Whether the model has a ``prior``, and with it ``log_prob`` and ``sample``."""

    classes: int | None = None
    """Number of classes that the model tells apart, or ``None``."""

    def __init__(self, layers, preprocessing=(), seed=None, **kwargs):
        super().__init__(**kwargs)
        self.flow = Stack([*preprocessing, *layers], name="flow", dtype=self.dtype_policy)
        if self.flow.is_conditional != self.takes_context:
            raise ValueError(
                f"{type(self).__name__} takes {'' if self.takes_context else 'no '}conditional "
                f"layers; the context_shape of these is {self.flow.context_shape}. "
                "ConditionalDensityModel is for layers that depend on a context, the others are "
                "for layers that do not."
            )
        self.preprocessing_depth = len(preprocessing)
        self._made_for = {}
        self.noise_seed = seed_value(seed)
        # Largest |∂loss/∂w| of a step, its mean over the steps of an epoch.
        self.max_gradient = keras.metrics.Mean(name="max_gradient")

    # Building.

    def build(self, input_shape):
        if len(input_shape) < 2 or None in tuple(input_shape[1:]):
            raise ValueError(
                f"{self.name} takes batches of samples of a known shape, [batch, …event]; "
                f"received shape {tuple(input_shape)}. Batch the data, or give scalars a "
                "trailing axis of 1."
            )
        if not self.flow.built:
            self.flow.build(tuple(input_shape))
        # Made here, eagerly: made inside a traced step it would not survive a retrace.
        self._bijector = from_layer(self.flow, name="flow")

    def compile_from_config(self, config):
        """What loading calls; Keras skips it for a model with a `compile` of its own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def dequantize(self):
        """The `Dequantize` layer that the data pass first, or ``None``."""
        first = self.flow.parts[0] if self.flow.parts else None
        return first if isinstance(first, Dequantize) else None

    def dequantized(self, x, seed):
        """Points of data space: levels with uniform noise on [0, 1), other data as they are.

        Args:
            x: data ``[batch, …event]``.
            seed: integer or stateless seed, of the noise.
        """
        x = as_tensor(x, self.compute_dtype)
        return x if self.dequantize is None else self.dequantize.add_noise(x, seed)

    def to_levels(self, x):
        """The levels that points of data space belong to; other data are the points themselves."""
        return x if self.dequantize is None else self.dequantize.to_levels(x)

    # The map.

    def encode(self, x, context=None):
        """``z = F(x)``; ``F(x; context)`` where the model takes one."""
        x = self.flow._prepare(x)
        context = self.flow._condition(context, x)
        return self.flow(x) if context is None else self.flow(x, context=context)

    def decode(self, z, *, tolerance=None, context=None):
        """``x = F⁻¹(z)``.

        Args:
            z: ``[batch, …latent]``.
            tolerance: asked of the root mean square error of a sample, in the units of ``x``
                (levels, for images); by default every block keeps to its solver's own, 1e-6 in
                the units of the block.  See `Stack.inverse`, which also reports what was met.
            context: ``[batch, …context_shape]``, where the model takes one.
        """
        self._require_built()
        z = self.flow._prepare_output(z)
        return self.flow._inverse_point(z, self.flow._inverse_options(z, tolerance, context))

    def decode_paths(self, z, *, tolerance=None, context=None):
        """``x = F⁻¹(z)`` of points along paths, in fewer evaluations than by themselves.

        In every block some points start from what was found at their neighbours, so the closer
        a path's points, the fewer: see `iresnet_tf.numerics.solvers.paths`.  What is returned is
        `decode`'s, to the tolerance.

        Args:
            z: ``[paths, steps, …latent]``, the points of each path in their order.
            tolerance: see `decode`.
            context: ``[paths, …context_shape]``, one for all points of a path, or
                ``[1, …context_shape]``, where the model takes one.

        Returns:
            ``[paths, steps, …event]``.

        Raises:
            ValueError: for another shape.
        """
        self._require_built()
        z = as_tensor(z, self.compute_dtype)
        latent_shape = self.flow.latent_shape
        paths = tf.TensorShape([None, None, *latent_shape])
        if z.shape.rank is None or not z.shape.is_compatible_with(paths) or not z.shape[1]:
            raise ValueError(
                f"decode_paths takes latents [paths, steps, {', '.join(map(str, latent_shape))}], "
                f"a known number of steps, at least 1; received {z.shape}. decode takes a batch."
            )
        steps = z.shape[1]
        points = self.flow._prepare_output(tf.reshape(z, [-1, *z.shape[2:]]))
        context = self.flow._condition(context, z[:, 0])
        if context is not None:
            context = tf.broadcast_to(context, [tf.shape(z)[0], *context.shape[1:]])
            context = tf.repeat(context, steps, axis=0)
        options = self.flow._inverse_options(points, tolerance, context)
        x = self.flow._inverse_point(points, dataclasses.replace(options, path_steps=steps))
        return tf.reshape(x, [-1, steps, *self.flow.event_shape])

    def bijector(self):
        """``F`` as a `tfp.bijectors.Bijector`, data → latent."""
        self._require_built()
        return self._bijector

    # Steps, traced anew where a block has been given another estimator or solver.

    def make_train_function(self, force=False):
        super().make_train_function(self._is_outdated("train") or force)

    def make_test_function(self, force=False):
        super().make_test_function(self._is_outdated("test") or force)

    def make_predict_function(self, force=False):
        super().make_predict_function(self._is_outdated("predict") or force)

    def _is_outdated(self, step):
        """Whether the step was made for other estimators or solvers; it is made for these now."""
        now = [repr((block.log_det, block.solver)) for block in residual_blocks(self.flow)]
        before, self._made_for[step] = self._made_for.get(step, now), now
        return before != now

    # Training.

    def initialize(self, x, context=None):
        """Data-dependent initialisation (`ActNorm`) from a batch; once in a model's life."""
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        if not self.flow.is_initialized():
            noisy = self.dequantized(x, random.fold_in(tf.constant([0, -1]), 0))
            self.flow.initialize(noisy, context=self.flow._condition(context, x))

    def fit(self, x=None, y=None, **kwargs):
        """As `keras.Model.fit`; begins with `initialize`, ends with refined spectral vectors.

        Args:
            x: array or tensor ``[examples, …event]``, or a batched `tf.data.Dataset`
                (of ``x``, ``(x, y)`` or ``(x, y, sample_weight)``).
            y: targets, where the model takes any.
            **kwargs: of `keras.Model.fit`.  A ``sample_weight`` counts relative to the
                others of its batch.

        Raises:
            ValueError: for other data, or none.
        """
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)
        examples = self._first_examples(x, y, 1024, kwargs.get("validation_split") or 0.0)
        self._require_event_shape(x)
        with self.distribute_strategy.scope():
            self.initialize(*examples)
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple) and len(validation) == 3:
            held_out, targets, weights = validation
            kwargs["validation_data"] = held_out, inputs.targets_beside(targets, weights), weights
        targets = inputs.targets_beside(y, kwargs.get("sample_weight"))
        with self._named_failures():
            history = super().fit(x, targets, **kwargs)
        refresh(self)
        return history

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """As `keras.Model.train_on_batch`; begins with `initialize`."""
        if not (self.built and self.flow.is_initialized()):
            self.initialize(*self._first_examples(x, y, len(x)))
        self._require_event_shape(x)
        return super().train_on_batch(
            x, inputs.targets_beside(y, sample_weight), sample_weight, **kwargs
        )

    def _first_examples(self, x, y, wanted, held_out=0.0):
        """What `initialize` takes, of about ``wanted`` training examples."""
        del y
        return (inputs.first_examples(x, wanted, held_out),)

    def evaluate(self, x=None, y=None, **kwargs):
        """As `keras.Model.evaluate`; begins with refined spectral vectors."""
        self._build_for(x)
        refresh(self)
        return super().evaluate(x, inputs.targets_beside(y, kwargs.get("sample_weight")), **kwargs)

    def predict(self, x, **kwargs):
        """As `keras.Model.predict`."""
        self._build_for(x)
        return super().predict(x, **kwargs)

    def _descend(self, gradients):
        """One step of the optimizer down the sum of the replicas' gradients."""
        gradients = replicas.all_reduce_sum(gradients)
        # The optimizer clips what a replica brings, and then adds it up.
        brought = replicas.keep_on_first(gradients)
        self.optimizer.apply_gradients(zip(brought, self.trainable_variables))
        largest = [tf.reduce_max(tf.abs(each)) for each in gradients if each is not None]
        self.max_gradient.update_state(tf.reduce_max(largest))

    @contextlib.contextmanager
    def _named_failures(self):
        """A step that met NaN or Inf fails with the layer's name alone, not with the graph's."""
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

    # Facts and files.

    @property
    def dimension(self):
        """``D``, the elements of one sample."""
        self._require_built()
        return int(np.prod(self.flow.event_shape))

    def lipschitz_bounds(self):
        """Certified ``Lip(g)`` of every block: see `iresnet_tf.layers.lipschitz_bounds`."""
        self._require_built()
        return lipschitz_bounds(self.flow)

    def summary(
        self, line_length=None, positions=None, print_fn=None, expand_nested=False, **kwargs
    ):
        """As `keras.Model.summary`, then a row for every block.

        It has the block's event shape and the channels of ``g``, trainable parameters and the
        certified bound on ``Lip(g)``; with ``expand_nested`` also every constrained layer.
        """
        options = {"line_length": line_length, "print_fn": print_fn, "expand_nested": expand_nested}
        super().summary(positions=positions, **options, **kwargs)
        if self.built:
            print_blocks(self, **options)

    def export(self, filepath):
        """Writes a SavedModel that runs without this package, into a new folder.

        Its signatures are ``encode``, ``decode``, ``log_prob``, ``sample`` and ``classify``,
        those that apply, for batches of any size; ``signatures.json`` beside them says what
        each takes and returns.  Begins with refined spectral vectors.

        Raises:
            FileExistsError: if the path exists; nothing is changed then.
            ValueError: if the model is not built.
        """
        self._require_built()
        serving.export(self, filepath)

    def save(self, filepath, **kwargs):
        """As `keras.Model.save`, to a ``.keras`` file; begins with refined spectral vectors.

        Raises:
            ValueError: for another suffix, unless ``zipped=False`` asks for a folder: HDF5 does
                not keep what the layers are made of.
        """
        if kwargs.get("zipped") is not False and not str(filepath).endswith(".keras"):
            raise ValueError(
                f"{self.name} is saved as a .keras file; received {str(filepath)!r}. export writes "
                "a SavedModel, save_weights the weights alone."
            )
        refresh(self)
        super().save(filepath, **kwargs)

    def _build_for(self, x):
        if not self.built:
            with self.distribute_strategy.scope():
                self.build(inputs.first_examples(x).shape)
        self._require_event_shape(x)

    def _require_event_shape(self, x):
        """Refuses another shape here, where it is known; a traced step may not know it."""
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

    def _require_built(self):
        if not self.built:
            raise ValueError(
                f"{self.name} does not know the shape of its data yet. Fit it, call it on a "
                "batch, or build((None, …event)) it first."
            )

    def get_config(self):
        parts = [keras.saving.serialize_keras_object(part) for part in self.flow.parts]
        return {
            **super().get_config(),
            "layers": parts[self.preprocessing_depth :],
            "preprocessing": parts[: self.preprocessing_depth],
            "seed": self.noise_seed,
        }

    @classmethod
    def from_config(cls, config):
        config = copy.deepcopy(config)
        for field in ("layers", "preprocessing"):
            config[field] = [keras.saving.deserialize_keras_object(x) for x in config[field]]
        return cls(**config)


def seed_value(seed):
    """``seed``, checked; a fresh one for ``None``."""
    if seed is None:
        return int(np.random.randint(0, 2**31 - 1))
    if seed != int(seed) or not 0 <= seed < 2**31:
        raise ValueError(f"seed is an integer from 0 to 2**31 − 1; received {seed!r}.")
    return int(seed)
