"""The table of the invertible layers, with data of each."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from iresnet_tf import layers, log_det, solvers

VECTOR, IMAGE, CONTEXT = (6,), (4, 4, 2), (3,)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def uniform(low, high):
    def draw(*shape, seed=0):
        return np.random.default_rng(seed).uniform(low, high, shape)

    return draw


def branch(kind, dtype, **options):
    if kind == "dense":
        return layers.Contraction.mlp((8,), dtype=dtype, **options)
    if kind == "conv":
        return layers.Contraction.conv(4, (3, 3), dtype=dtype, **options)
    return layers.Contraction.dense_net(4, depth=2, kernel_size=3, dtype=dtype, **options)


def block(kind, dtype, recompute=False, **options):
    solver = solvers.Anderson(tolerance=1e-6 if dtype == "float32" else 1e-12)
    g = branch(kind, dtype, **options)
    return layers.ResidualBlock(g, log_det.Exact(), solver, recompute)


def conditioner(dtype):
    return keras.Sequential([keras.layers.Dense(4, "tanh", dtype=dtype)])


def conditioned(kind, dtype):
    return block(kind, dtype, context_shape=CONTEXT, conditioner=conditioner(dtype))


def conditional_act_norm(dtype):
    return layers.ConditionalActNorm(CONTEXT, conditioner(dtype), dtype=dtype)


def stack(dtype):
    return layers.Stack(
        [
            layers.Dequantize(4, dtype=dtype),
            layers.Logit(0.05, dtype=dtype),
            layers.ActNorm(dtype=dtype),
            block("conv", dtype),
            layers.Squeeze(dtype=dtype),
            block("conv", dtype, recompute=True),
        ]
    )


def multi_scale(dtype):
    inner = layers.FactorOut([block("dense-net", dtype), layers.ActNorm(dtype=dtype)])
    return layers.Stack([block("conv", dtype), layers.Squeeze(dtype=dtype), inner])


def conditional_stack(dtype):
    early = [conditioned("conv", dtype), layers.Flatten(dtype=dtype)]
    return layers.Stack([*early, layers.ActNorm(dtype=dtype), conditioned("dense", dtype)])


class Case(NamedTuple):
    """An example of a layer with its data.

    Attributes:
        make: ``dtype ↦ layer``.
        shape: shape of a sample.
        draw: ``(*shape, seed) ↦ data``.
        latent: shape of a latent sample.
        is_conditional: whether the layer takes a context of the shape `CONTEXT`.
    """

    make: Callable
    shape: tuple
    draw: Callable
    latent: tuple
    is_conditional: bool = False

    def context(self, batch=3):
        """Returns the keyword argument with a batch of contexts, if the layer takes one."""
        return {"context": normal(batch, *CONTEXT, seed=7)} if self.is_conditional else {}


MEAN, STDDEV = (1.0, -2.0), (0.5, 3.0)
CASES = {
    "block-dense": Case(lambda dtype: block("dense", dtype), VECTOR, normal, VECTOR),
    "block-conv": Case(lambda dtype: block("conv", dtype), IMAGE, normal, IMAGE),
    "block-dense-net": Case(lambda dtype: block("dense-net", dtype), IMAGE, normal, IMAGE),
    "block-learned-p": Case(
        lambda dtype: block("dense", dtype, p="learned"), VECTOR, normal, VECTOR
    ),
    "block-recomputed": Case(lambda dtype: block("conv", dtype, True), IMAGE, normal, IMAGE),
    "block-conditional": Case(
        lambda dtype: conditioned("dense", dtype), VECTOR, normal, VECTOR, True
    ),
    "actnorm-vector": Case(lambda dtype: layers.ActNorm(dtype=dtype), VECTOR, normal, VECTOR),
    "actnorm-image": Case(lambda dtype: layers.ActNorm(dtype=dtype), IMAGE, normal, IMAGE),
    "actnorm-conditional": Case(conditional_act_norm, VECTOR, normal, VECTOR, True),
    "actnorm-conditional-image": Case(conditional_act_norm, IMAGE, normal, IMAGE, True),
    "whiten-vector": Case(lambda dtype: layers.Whiten(dtype=dtype), VECTOR, normal, VECTOR),
    "whiten-image": Case(lambda dtype: layers.Whiten(dtype=dtype), IMAGE, normal, IMAGE),
    "squeeze": Case(lambda dtype: layers.Squeeze(dtype=dtype), IMAGE, normal, (2, 2, 8)),
    "flatten": Case(lambda dtype: layers.Flatten(dtype=dtype), IMAGE, normal, (32,)),
    "dequantize": Case(
        lambda dtype: layers.Dequantize(4, dtype=dtype), IMAGE, uniform(0, 4), IMAGE
    ),
    "logit": Case(lambda dtype: layers.Logit(0.01, dtype=dtype), IMAGE, uniform(0, 1), IMAGE),
    "gaussianize": Case(
        lambda dtype: layers.Gaussianize((0.7, 0.05, 0.25), 0.01, dtype=dtype),
        *(IMAGE, uniform(0, 1), IMAGE),
    ),
    "center": Case(lambda dtype: layers.Center(0.5, dtype=dtype), VECTOR, normal, VECTOR),
    "standardize": Case(
        lambda dtype: layers.Standardize(MEAN, STDDEV, dtype=dtype), IMAGE, normal, IMAGE
    ),
    "factor-out": Case(
        lambda dtype: layers.FactorOut([block("conv", dtype)]), IMAGE, normal, (32,)
    ),
    "stack": Case(stack, IMAGE, uniform(0, 4), (2, 2, 8)),
    "stack-multi-scale": Case(multi_scale, IMAGE, normal, (32,)),
    "stack-conditional": Case(conditional_stack, IMAGE, normal, (32,), True),
}
