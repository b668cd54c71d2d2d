"""The certificate: the operator norm of every layer, and the Lipschitz constant of every block."""

import dataclasses

from iresnet_tf.analysis.results import Result
from iresnet_tf.layers import residual_blocks, spectral_layers
from iresnet_tf.models import FlowModel


@dataclasses.dataclass(frozen=True)
class LayerCertificate(Result):
    """The certified norm of a spectral layer.

    Attributes:
        name: name of the layer.
        norm_bound: upper bound on its operator norm.
        coeff: its coefficient, ``None`` for a layer without a constraint.
    """

    name: str
    norm_bound: float
    coeff: float | None


@dataclasses.dataclass(frozen=True)
class BlockCertificate(Result):
    """The certified Lipschitz constant of a residual block.

    Attributes:
        name: name of the block.
        lipschitz_bound: upper bound on ``Lip(g)``; infinite if there is none.
        certified: whether the bound is below 1.
        layers: the spectral layers of the block.
    """

    name: str
    lipschitz_bound: float
    certified: bool
    layers: tuple[LayerCertificate, ...]


@dataclasses.dataclass(frozen=True)
class Certificate(Result):
    """Whether a model is certified as invertible.

    Attributes:
        certified: whether every block is certified.
        blocks: the residual blocks, from the data to the latent side.
    """

    certified: bool
    blocks: tuple[BlockCertificate, ...]


def certify(model: FlowModel) -> Certificate:
    """Certifies the norms of all spectral layers and the Lipschitz constants of all blocks.

    The bounds hold for the weights as they are.  A Cholesky factor proves them if it is
    affordable, else the torus of frequencies does.

    Args:
        model: a built model of `iresnet_tf.models`.
    """
    blocks = []
    for block in residual_blocks(model.flow):
        bound = block.lipschitz_bound_or_inf()
        layers = tuple(
            LayerCertificate(layer.name, layer.lipschitz_bound(), layer.coeff)
            for layer in spectral_layers(block)
        )
        blocks.append(BlockCertificate(block.name, bound, bound < 1.0, layers))
    return Certificate(all(block.certified for block in blocks), tuple(blocks))
