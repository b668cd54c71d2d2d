"""Gives BayesFlow a residual flow."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from bayesflow.networks import InferenceNetwork
from bayesflow.utils import layer_kwargs, weighted_mean
from bayesflow.utils.serialization import serializable, serialize
from typing_extensions import Self

from iresnet_tf.layers import Stack
from iresnet_tf.models import architectures
from iresnet_tf.numerics.log_det import Exact


@serializable("iresnet_tf.bayesflow")
class ResidualFlow(InferenceNetwork):
    """``log p(θ | c) = log p_Z(F(θ; c)) + log |det ∂F/∂θ|`` as BayesFlow's inference network.

    ``F`` is made of (ActNorm, residual block) pairs, after a `ConditionalActNorm` if there are
    conditions.  All of them share a conditioner, a network without constraints, which sees the
    conditions.  The log-determinant is exact, which takes one Jacobian product for each parameter.

    Args:
        blocks: number of residual blocks.
        width: units of each hidden layer of a block.
        depth: number of hidden layers of a block.
        coeff: bound on each layer's norm, so ``Lip(g) ≤ coeff^(depth + 1)``.
        activation: of the blocks.
        conditioner: widths of the layers that the conditions pass through.
        act_norm: whether there is a `ConditionalActNorm`.
        base_distribution, **kwargs: of BayesFlow's `InferenceNetwork`.

    Shapes: parameters ``[…, D]`` and conditions ``[…, C]`` with the same leading axes, float32;
    a latent ``[…, D]`` and a log-density ``[…]``, nats.

    Raises:
        RuntimeError: if Keras runs on another backend than TensorFlow.

    Example:
        >>> workflow = bayesflow.BasicWorkflow(
        ...     inference_network=irn.bayesflow.ResidualFlow(),
        ...     inference_variables=["theta"], inference_conditions=["x"], simulator=simulator,
        ...     initial_learning_rate=5e-3,
        ... )
        >>> workflow.fit_online(epochs=10, batch_size=128, num_batches_per_epoch=100)

    Source: Radev et al. 2020 (arXiv:2003.06281), for the loss; Behrmann et al. 2019
    (arXiv:1811.00995), for the blocks.
    """

    def __init__(
        self,
        blocks: int = 6,
        width: int = 64,
        depth: int = 2,
        *,
        coeff: float = 0.97,
        activation: str = "lipswish",
        conditioner: Sequence[int] = (64, 64),
        act_norm: bool = True,
        base_distribution: str | keras.Layer = "normal",
        **kwargs: Any,
    ) -> None:
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(
                f"A residual flow runs on TensorFlow; Keras runs on {keras.backend.backend()}. Set "
                "KERAS_BACKEND=tensorflow before the first import of Keras or BayesFlow."
            )
        super().__init__(base_distribution=base_distribution, **kwargs)
        self.blocks, self.width, self.depth = int(blocks), int(width), int(depth)
        self.coeff, self.activation = float(coeff), activation
        self.conditioner, self.act_norm = tuple(conditioner), bool(act_norm)

    def build(self, xz_shape: tuple, conditions_shape: tuple | None = None) -> None:
        if self.built:
            return
        condition: dict[str, Any] = {}
        if conditions_shape is not None:
            widths = [keras.layers.Dense(width, "swish") for width in self.conditioner]
            condition["context_shape"] = (conditions_shape[-1],)
            condition["conditioner"] = keras.Sequential(widths, name="conditioner")
            condition["conditional_act_norm"] = self.act_norm
        self.flow = Stack(
            architectures.vector_flow(
                self.blocks,
                self.width,
                self.depth,
                activation=self.activation,
                coeff=self.coeff,
                log_det=Exact(),
                **condition,
            ),
            name="flow",
        )
        self.flow.build((None, xz_shape[-1]))
        self.base_distribution.build(xz_shape)

    def _forward(
        self,
        x: Any,
        conditions: Any = None,
        density: bool = False,
        training: bool = False,
        **_: Any,
    ) -> Any:
        rows, context = _flat(x), _flat(conditions)
        if not density:
            return tf.reshape(self.flow(rows, context=context), tf.shape(x))
        latent, log_det = self.flow.forward_and_log_det(rows, context=context)
        log_density = self.base_distribution.log_prob(latent) + log_det
        return tf.reshape(latent, tf.shape(x)), tf.reshape(log_density, tf.shape(x)[:-1])

    def _inverse(
        self,
        z: Any,
        conditions: Any = None,
        density: bool = False,
        training: bool = False,
        **_: Any,
    ) -> Any:
        context = _flat(conditions)
        x = tf.reshape(self.flow.inverse(_flat(z), context=context).x, tf.shape(z))
        if not density:
            return x
        return x, self._forward(x, conditions, density=True)[1]

    def compute_metrics(
        self, x: Any, conditions: Any = None, sample_weight: Any = None, stage: str = "training",
        **kwargs: Any,
    ) -> dict[str, Any]:  # fmt: skip
        _, log_density = self(x, conditions=conditions, density=True, training=stage == "training")
        return {"loss": weighted_mean(-log_density, sample_weight)}

    def get_config(self) -> dict[str, Any]:
        names = "blocks", "width", "depth", "coeff", "activation", "conditioner", "act_norm"
        config = {name: getattr(self, name) for name in (*names, "base_distribution")}
        return layer_kwargs(super().get_config()) | serialize(config)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        # Files of older versions have no ConditionalActNorm.
        return super().from_config({"act_norm": False, **config}, custom_objects)


def _flat(values: Any) -> Any:
    """Returns ``[…, n]`` as ``[rows, n]``; ``None`` stays ``None``."""
    return None if values is None else tf.reshape(values, [-1, values.shape[-1]])
