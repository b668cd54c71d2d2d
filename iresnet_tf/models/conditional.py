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


@keras.saving.register_keras_serializable("iresnet_tf")
class ConditionalDensityModel(DensityModel):
    """``log p(x | c) = log p_Z(F(x; c)) + log |det ∂F/∂x|`` in nats, for every context ``c``.

    Fitted to pairs of parameters ``x`` and data ``c`` from a joint distribution, it estimates the
    posterior of ``x`` for any ``c`` (amortised inference).  ``fit`` takes ``(x, c)`` or a dataset
    of such pairs.

    Args:
        layers: invertible layers, data side first; at least one block whose contraction has a
            ``context_shape``.  Conditioners are called in inference mode, even in ``fit``.
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

    def _first_examples(self, x, y, wanted, held_out=0.0):
        if not inputs.are_pairs(x, y):
            raise ValueError(
                "A conditional density is fitted to pairs: fit(x, context), or a dataset of "
                "(x, context); received no contexts. Use DensityModel for data without contexts."
            )
        return inputs.first_pairs(x, y, wanted, held_out)

    def _objective(self, x, y, sample_weight, seed, training):
        del training
        return self._likelihood(x, sample_weight, seed, context=y)
