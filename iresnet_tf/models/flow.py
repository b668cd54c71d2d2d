"""What every model of this package is: an invertible stack inside a `keras.Model`."""

import collections
import copy

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.bijectors import from_layer
from iresnet_tf.layers import Dequantize, Stack, refresh, residual_blocks
from iresnet_tf.layers.invertible import as_tensor
from iresnet_tf.models import inputs
from iresnet_tf.numerics import probes


class FlowModel(keras.Model):
    """A `keras.Model` around an invertible ``F``: builds itself, inverts, certifies, saves.

    ``fit`` begins with the data-dependent initialisation and ends with refined spectral
    vectors; evaluation and saving begin with them.

    Args:
        layers: invertible layers, data side first.
        preprocessing: fixed invertible layers before them.
        seed: of the noise and probes drawn in ``fit`` and ``evaluate``; a fresh one
            by default (it follows `keras.utils.set_random_seed`).

    Raises:
        ValueError: for layers that are not invertible.
    """

    def __init__(self, layers, preprocessing=(), seed=None, **kwargs):
        super().__init__(**kwargs)
        self.flow = Stack([*preprocessing, *layers], name="flow", dtype=self.dtype_policy)
        self.preprocessing_depth = len(preprocessing)
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

    # The map.

    def encode(self, x):
        """``z = F(x)``."""
        return self.flow(self.flow.prepare(x))

    def decode(self, z):
        """``x = F⁻¹(z)``."""
        self._require_built()
        return self.flow.preimage(self.flow.prepare_output(z))

    def bijector(self):
        """``F`` as a `tfp.bijectors.Bijector`, data → latent."""
        self._require_built()
        return self._bijector

    # Training.

    def initialize(self, x):
        """Data-dependent initialisation (`ActNorm`) from a batch; once in a model's life."""
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        if not self.flow.is_initialized():
            self.flow.initialize(self._noisy(x, tf.constant([0, -1])))

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
        examples = inputs.first_examples(x, 1024, kwargs.get("validation_split") or 0.0)
        self._require_event_shape(x)
        with self.distribute_strategy.scope():
            self.initialize(examples)
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple) and len(validation) == 3:
            held_out, targets, weights = validation
            kwargs["validation_data"] = held_out, inputs.targets_beside(targets, weights), weights
        history = super().fit(x, inputs.targets_beside(y, kwargs.get("sample_weight")), **kwargs)
        refresh(self)
        return history

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """As `keras.Model.train_on_batch`; begins with `initialize`."""
        if not (self.built and self.flow.is_initialized()):
            self.initialize(inputs.first_examples(x, len(x)))
        self._require_event_shape(x)
        return super().train_on_batch(
            x, inputs.targets_beside(y, sample_weight), sample_weight, **kwargs
        )

    def evaluate(self, x=None, y=None, **kwargs):
        """As `keras.Model.evaluate`; begins with refined spectral vectors."""
        self._build_for(x)
        refresh(self)
        return super().evaluate(x, inputs.targets_beside(y, kwargs.get("sample_weight")), **kwargs)

    def predict(self, x, **kwargs):
        """As `keras.Model.predict`."""
        self._build_for(x)
        return super().predict(x, **kwargs)

    def _descend(self, tape, loss):
        """One step of the optimizer down ``loss``, which this replica saw on its tape."""
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        largest = [tf.reduce_max(tf.abs(each)) for each in gradients if each is not None]
        self.max_gradient.update_state(tf.reduce_max(largest))

    def _noisy(self, x, seed):
        x = as_tensor(x, self.compute_dtype)
        if self.dequantize is None:
            return x
        return self.dequantize.add_noise(x, probes.fold_in(seed, 0))

    # Facts and files.

    @property
    def dimension(self):
        """``D``, the elements of one sample."""
        self._require_built()
        return int(np.prod(self.flow.event_shape))

    def lipschitz_bounds(self):
        """Certified ``Lip(g)`` of every residual block; ``inf`` where it is not known.

        A name that occurs again, because its block does or by coincidence, is numbered.
        """
        self._require_built()
        bounds: dict[str, float] = {}
        seen: collections.Counter[str] = collections.Counter()
        for block in residual_blocks(self.flow):
            seen[block.name] += 1
            again = f" ({seen[block.name]})" if seen[block.name] > 1 else ""
            bounds[block.name + again] = block.known_lipschitz()
        return bounds

    def save(self, filepath, **kwargs):
        """As `keras.Model.save`; begins with refined spectral vectors."""
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
