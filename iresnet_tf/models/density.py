"""Estimates densities with an invertible network."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from iresnet_tf.layers.inputs import as_tensor
from iresnet_tf.models.distribution import FlowDistribution
from iresnet_tf.models.likelihood import LikelihoodModel
from iresnet_tf.models.serving import as_signatures
from iresnet_tf.numerics import random
from iresnet_tf.numerics.options import require_integer


@keras.saving.register_keras_serializable("iresnet_tf")
class DensityModel(LikelihoodModel):
    """``log p(x) = log p_Z(F(x)) + log |det ∂F/∂x|`` in nats, ``F`` an invertible stack.

    The model builds itself from the data and has its own loss, the mean of ``−log p(x)``:
    ``compile(optimizer=…)`` and ``fit(x)`` suffice.  If ``preprocessing`` begins with a
    `Dequantize` layer, the data are levels ``{0, …, n−1}``; ``fit`` and ``evaluate`` then add
    uniform noise ``u`` and also report ``bits_per_dim = −log p(x + u) / (D ln 2)``.

    Args:
        layers: invertible layers, data side first.
        prior: ``"learned"`` (diagonal normal with trained mean and scale), ``"fixed"`` (standard
            normal), or a `Prior`.
        preprocessing: fixed invertible layers before the others, for example
            ``(Dequantize(256), Logit(0.05))``.
        seed, **kwargs: see `FlowModel`.

    Shapes: ``[batch, …event]``; ``call`` and ``predict`` return ``log p(x)``, ``[batch]``.

    Raises:
        ValueError: for layers that are not invertible, or an unknown prior.

    Source: Behrmann et al. 2019 (arXiv:1811.00995), §3; the change of variables.
    """

    has_density = True

    def call(self, x: tf.Tensor) -> Any:
        return self.log_prob(x)

    def log_prob(
        self, x: tf.Tensor, *, seed: int | tf.Tensor | None = None, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        """``log p(x)``, or ``log p(x | context)`` for a model that takes a context.

        Args:
            x: points of data space, ``[batch, …event]``; for discrete data, levels with noise.
            seed: integer or stateless seed of the log-determinant's probes; random by default.
            context: ``[batch, …context_shape]``, for a model that takes one.

        Returns:
            ``[batch]``, nats.
        """
        x = as_tensor(x, self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        if self.dequantize is not None:
            self.dequantize.require_range(x)
        latent, log_det = self.flow.forward_and_log_det(x, seed=seed, context=context)
        return self.prior.log_prob(latent) + log_det

    def distribution(self) -> tfp.distributions.Distribution:
        """Returns the density over data space as a TFP distribution.

        For discrete data it is the continuous density of levels with noise, on ``[0, n)^D``.
        ``log_prob(x, bijector_kwargs={"seed": s})`` seeds the estimator of the log-determinant;
        all methods take the context of a conditional model by ``bijector_kwargs={"context": c}``.
        """
        self._require_built()
        return FlowDistribution(
            self.prior.distribution(), tfp.bijectors.Invert(self._bijector), name="density"
        )

    def sample(
        self,
        count: int,
        *,
        temperature: float | Sequence[float] = 1.0,
        seed: int | tf.Tensor | None = None,
        tolerance: float | None = None,
    ) -> tf.Tensor:
        """Returns ``F⁻¹(z)`` for ``z`` from the prior with its scale times ``temperature``.

        Args:
            count: number of samples.
            temperature: positive number; 1 samples the model itself.  For a sequence, the same
                noise is drawn once and scaled by each temperature: see `decode_paths`.
            seed: integer or stateless seed; random by default.
            tolerance: see `decode`.

        Returns:
            ``[count, …event]``, or ``[count, temperatures, …event]``; levels for discrete data.
        """
        self._require_sampling(count, temperature)
        return self._sampled(int(count), temperature, seed, tolerance)

    def _sampled(self, count, temperature, seed, tolerance=None, context=None, **condition):
        """Draws samples, given a context ``[count, …]`` of the map, or labels of the prior."""
        seed = self.flow._next_seed() if seed is None else random.as_seed(seed)
        options = {"seed": seed, **condition}
        if np.ndim(temperature):
            paths = [self.prior.sample(count, temperature=t, **options) for t in temperature]
            x = self.decode_paths(tf.stack(paths, 1), tolerance=tolerance, context=context)
        else:
            z = self.prior.sample(count, temperature=temperature, **options)
            x = self.decode(z, tolerance=tolerance, context=context)
        return self.to_levels(x)

    def _require_sampling(self, count: int, temperature: float | Sequence[float]) -> None:
        self._require_built()
        require_integer("count", count)
        temperatures = np.asarray(temperature)
        positive = (temperatures > 0.0) & (temperatures < np.inf)
        if temperatures.ndim > 1 or not temperatures.size or not positive.all():
            raise ValueError(
                f"temperature is a positive number, or several; received {temperature!r}."
            )

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Predicts like `keras.Model.predict`: returns what `call` returns, in batches.

        Args:
            x: points of data space.  For discrete data these are levels with noise,
                ``model.dequantized(x, seed)``; integers give a warning and get no noise.
            **kwargs: options of `keras.Model.predict`.
        """
        dtype = str(getattr(x, "dtype", ""))
        if self.dequantize is not None and "int" in dtype:
            warnings.warn(
                f"predict takes points of data space; received levels, {dtype}. Without noise they "
                "lie at the corners of their cells, where the density says little about the "
                "levels: give model.dequantized(x, seed), or use evaluate.",
                stacklevel=2,
            )
        return super().predict(x, **kwargs)

    def signatures(self) -> dict[str, Any]:
        x = tf.TensorSpec([None, *self.flow.event_shape], self.compute_dtype)
        number, integer = tf.TensorSpec([], self.compute_dtype), tf.TensorSpec([], tf.int32)

        def log_prob(x, seed):
            """Returns log p(x) in nats at points x of data space (for discrete data, levels plus
            noise uniform on [0, 1)). The seed decides the probes of the log-determinant."""
            return {"log_prob": self.log_prob(x, seed=seed)}

        def sample(count, temperature, seed):
            """Returns samples x of the model, levels for discrete data. The temperature multiplies
            the standard deviation of the latents."""
            return self._served_samples(count, temperature, seed)

        functions = as_signatures((log_prob, x, integer), (sample, integer, number, integer))
        return {**super().signatures(), **functions}

    def _served_samples(self, count, temperature, seed, **condition) -> dict[str, tf.Tensor]:
        tf.debugging.assert_positive(count, "count is an integer of at least 1.")
        tf.debugging.assert_positive(temperature, "temperature is a positive number.")
        return {"x": self._sampled(count, temperature, seed, **condition)}
