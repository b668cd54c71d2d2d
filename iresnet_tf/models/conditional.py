"""Estimates conditional densities, for example amortised posteriors."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.layers.inputs import as_tensor
from iresnet_tf.models import inputs
from iresnet_tf.models.batches import is_batched
from iresnet_tf.models.density import DensityModel
from iresnet_tf.models.serving import as_signatures


@keras.saving.register_keras_serializable("iresnet_tf")
class ConditionalDensityModel(DensityModel):
    """``log p(x | c) = log p_Z(F(x; c)) + log |det ∂F/∂x|`` in nats, for every context ``c``.

    Fitted to pairs of parameters ``x`` and data ``c`` from a joint distribution, it estimates the
    posterior of ``x`` for any ``c`` (amortised inference).  ``fit`` takes ``(x, c)`` or a dataset
    of such pairs.

    Args:
        layers: invertible layers, data side first; at least one conditional layer: a block whose
            contraction has a ``context_shape``, or a `ConditionalActNorm`.  Conditioners are called
            in inference mode, even in ``fit``.
        prior, preprocessing, seed: see `DensityModel`.

    Shapes: ``x [batch, …event]`` and ``context [batch, …context_shape]`` (or
    ``[1, …context_shape]`` for one context); ``log_prob``, ``call`` and ``predict`` return
    ``log p(x | c)``, ``[batch]``.

    Raises:
        ValueError: as for `DensityModel`; if no layer takes a context.

    Example:
        >>> def block():
        ...     g = Contraction.mlp((64, 64), context_shape=(8,))
        ...     return ResidualBlock(g, log_det=Exact())
        >>> model = ConditionalDensityModel([block(), block()])
        >>> model.compile("adam")
        >>> model.fit(parameters, observations)
        >>> model.sample(1000, context=observed[np.newaxis])  # [1, 1000, …event]

    Source: Radev et al. 2020 (arXiv:2003.06281), eq. 4, for the loss.
    """

    takes_context = True

    def call(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        return self.log_prob(x, context=context)

    def sample(
        self,
        count: int,
        *,
        temperature: float | Sequence[float] = 1.0,
        seed: int | tf.Tensor | None = None,
        tolerance: float | None = None,
        context: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws ``count`` samples for each context: see `DensityModel.sample`.

        Args:
            count, temperature, seed, tolerance: see `DensityModel.sample`.
            context: ``[batch, …context_shape]``; required.

        Returns:
            ``[batch, count, …event]``, or ``[batch, count, temperatures, …event]``.

        Raises:
            ValueError: without a context.
        """
        self._require_sampling(count, temperature)
        if context is None:
            raise ValueError(
                f"{self.name} depends on a context; received none. Give context=[batch, "
                f"{', '.join(map(str, self.flow.context_shape or ()))}]."
            )
        context = tf.repeat(as_tensor(context, self.compute_dtype), int(count), axis=0)
        x = self._sampled(tf.shape(context)[0], temperature, seed, tolerance, context)
        return tf.reshape(x, [-1, int(count), *x.shape[1:]])

    def predict(
        self, x: Any, *, context: Any = None, batch_size: int = 32, **kwargs: Any
    ) -> np.ndarray:
        """Predicts like `keras.Model.predict`: ``log p(x | c)`` in nats.

        Args:
            x: array of points of data space, ``[examples, …event]``; or batches of pairs
                ``(x, c)``, as for ``fit``.
            context: array ``[examples, …context_shape]``, or ``[1, …context_shape]``; required
                for an array.
            batch_size, **kwargs: options of `keras.Model.predict`.
        """
        x = self._opened(x)
        if context is None and is_batched(x):
            return super().predict(x, batch_size=batch_size, **kwargs)
        x = as_tensor(x, self.compute_dtype)
        context = self.flow._condition(context, x)
        context = tf.broadcast_to(context, [x.shape[0], *context.shape[1:]])
        pairs = tf.data.Dataset.from_tensor_slices((x, context)).batch(batch_size)
        return super().predict(pairs, **kwargs)

    def predict_step(self, data: tuple) -> tf.Tensor:
        x, context, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x, context=context)

    def signatures(self) -> dict[str, Any]:
        def spec(shape, dtype=self.compute_dtype):
            return tf.TensorSpec(shape, dtype)

        x, z = spec([None, *self.flow.event_shape]), spec([None, *self.flow.latent_shape])
        given = spec([None, *(self.flow.context_shape or ())])
        number, integer = spec([]), spec([], tf.int32)

        def encode(x, context):
            """Returns latents z = F(x; context) of points x of data space. There is a context for
            each point, or one for all, [1, …]."""
            return {"z": self.encode(x, context=context)}

        def decode(z, context):
            """Returns points x = F⁻¹(z; context) of data space, with contexts as for encode."""
            return {"x": self.decode(z, context=context)}

        def log_prob(x, context, seed):
            """Returns log p(x | context) in nats, with contexts as for encode. The seed decides
            the probes of the log-determinant."""
            return {"log_prob": self.log_prob(x, seed=seed, context=context)}

        def sample(context, count, temperature, seed):
            """Returns count samples x of the model for each context, [batch, count, …]. The
            temperature multiplies the standard deviation of the latents."""
            repeated = tf.repeat(context, count, axis=0)
            rows = tf.shape(repeated)[0]
            x = self._served_samples(rows, temperature, seed, context=repeated)["x"]
            return {"x": tf.reshape(x, [-1, count, *self.flow.event_shape])}

        return as_signatures(
            (encode, x, given),
            (decode, z, given),
            (log_prob, x, given, integer),
            (sample, given, integer, number, integer),
        )

    def _first_examples(self, x, y, wanted, held_out=0.0):
        if not inputs.are_pairs(x, y):
            raise ValueError(
                "A conditional density is fitted to pairs: fit(x, context), or a dataset of "
                "(x, context); received no contexts. Use DensityModel for data without contexts."
            )
        return inputs.first_pairs(x, y, wanted, held_out)
