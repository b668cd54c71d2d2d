"""Certifies the operator norm of every layer and the Lipschitz constant of every block."""

import dataclasses

from iresnet_tf.analysis.results import Result
from iresnet_tf.layers import residual_blocks, spectral_layers
from iresnet_tf.models import FlowModel


@dataclasses.dataclass(frozen=True)
class LayerCertificate(Result):
    """The upper bound on the operator norm of a spectral layer, next to its coefficient."""

    name: str
    norm_bound: float
    coeff: float | None


@dataclasses.dataclass(frozen=True)
class BlockCertificate(Result):
    """The upper bound on ``Lip(g)`` of a block, ``inf`` if unknown.

    Attributes:
        certified: whether the bound is below 1 and rests on the weights alone.
        vouched: whether the bound rests on a ``lipschitz`` that somebody gave and nothing checks.
    """

    name: str
    lipschitz_bound: float
    certified: bool
    vouched: bool
    layers: tuple[LayerCertificate, ...]


@dataclasses.dataclass(frozen=True)
class Certificate(Result):
    """States whether every residual block is certified; lists them from the data side on.

    ``vouched`` is true if a user gave the constant of a block; then ``certified`` is false.
    """

    certified: bool
    vouched: bool
    blocks: tuple[BlockCertificate, ...]


def certify(model: FlowModel) -> Certificate:
    """Certifies the norms of all spectral layers and the Lipschitz constants of all blocks.

    The bounds hold for the current weights of the built model.  A Cholesky factorization proves
    them where it is affordable; elsewhere the circular convolution on a torus bounds the norm.
    """
    blocks = []
    for block in residual_blocks(model.flow):
        bound, vouched = block.lipschitz_bound_or_inf(), block.is_vouched
        certified = bound < 1.0 and not vouched
        layers = tuple(
            LayerCertificate(layer.name, layer.lipschitz_bound(), layer.coeff)
            for layer in spectral_layers(block)
        )
        blocks.append(BlockCertificate(block.name, bound, certified, vouched, layers))
    return Certificate(
        all(block.certified for block in blocks),
        any(block.vouched for block in blocks),
        tuple(blocks),
    )
