"""Conditional density estimation: amortised posteriors."""

import keras
import tensorflow as tf

from iresnet_tf.layers.inputs import as_tensor
from iresnet_tf.models import inputs
from iresnet_tf.models.density import DensityModel
from iresnet_tf.models.inference_mode import require_inference_mode


@keras.saving.register_keras_serializable("iresnet_tf")
class ConditionalDensityModel(DensityModel):
    """``log p(x | c) = log p_Z(F(x; c)) + log |det ∂F/∂x|`` in nats, for every context ``c``.

    Fitted to pairs of parameters ``x`` and data ``c`` drawn from a joint distribution, by
    ``fit(x, c)`` or a dataset of ``(x, c)``, it is the posterior of ``x`` for any ``c``: amortised
    inference.

    Args:
        layers: invertible layers, data side first; at least one block whose contraction has a
            ``context_shape``.  Conditioners are called in inference mode, also in ``fit``.
        prior, preprocessing, seed: see `DensityModel`.

    Shapes: ``x [batch, …event]`` and ``context [batch, …context_shape]`` (or
    ``[1, …context_shape]`` for one context); ``call`` and ``predict`` give ``log p(x | c)``,
    ``[batch]``.

    Raises:
        ValueError: as for `DensityModel`, or where no layer takes a context; in ``fit``, where a
            conditioner holds dropout, noise, batch normalization or regularizers that are not
            frozen: they would have no effect.

    Example:
        >>> def block():
        ...     g = Contraction.mlp((64, 64), context_shape=(8,))
        ...     return ResidualBlock(g, log_det=Exact())
        >>> model = ConditionalDensityModel([block(), block()])
        >>> model.compile("adam")
        >>> model.fit(parameters, observations)
        >>> model.sample(1000, observed[np.newaxis])  # [1, 1000, …event]

    Source: Radev et al. 2020 (arXiv:2003.06281), eq. 4, for the loss.
    """

    takes_context = True

    def call(self, x, context=None):
        return self.log_prob(x, context)

    def log_prob(self, x, context, seed=None):
        """``log p(x | c)``, ``[batch]``, nats."""
        return self._log_prob(x, seed, context)

    def sample(self, count, context, temperature=1.0, seed=None, tolerance=None):
        """``F⁻¹(z; c)`` for ``z`` from the prior with its scale times ``temperature``.

        Args:
            count: number of samples for each context.
            context: ``[batch, …context_shape]``.
            temperature, seed, tolerance: see `DensityModel.sample`.

        Returns:
            ``[batch, count, …event]``, or ``[batch, count, temperatures, …event]``; levels,
            where the data are discrete.
        """
        self._require_sampling(count, temperature)
        context = tf.repeat(as_tensor(context, self.compute_dtype), int(count), axis=0)
        x = self._sampled(tf.shape(context)[0], temperature, seed, tolerance, context)
        return tf.reshape(x, [-1, int(count), *x.shape[1:]])

    def predict(self, x, context, batch_size=32, **kwargs):
        """As `keras.Model.predict`: ``log p(x | c)`` of arrays ``x`` and ``context``."""
        x = as_tensor(x, self.compute_dtype)
        context = self.flow._condition(context, x)
        context = tf.broadcast_to(context, [x.shape[0], *context.shape[1:]])
        pairs = tf.data.Dataset.from_tensor_slices((x, context)).batch(batch_size)
        return super().predict(pairs, **kwargs)

    def predict_step(self, data):
        x, context, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x, context=context)

    def distribution(self):
        """``p(x | c)`` as a TFP distribution; ``bijector_kwargs={"context": c}`` tells ``c``."""
        return super().distribution()

    def make_train_function(self, force=False):
        require_inference_mode(self.flow)
        super().make_train_function(force)

    def _first_examples(self, x, y, wanted, held_out=0.0):
        if not inputs.are_pairs(x, y):
            raise ValueError(
                "A conditional density is fitted to pairs: fit(x, context), or a dataset of "
                "(x, context); received no contexts. Use DensityModel for data without them."
            )
        return inputs.first_pairs(x, y, wanted, held_out)

    def _objective(self, x, y, sample_weight, seed, training):
        del training
        return self._likelihood(x, sample_weight, seed, y)
