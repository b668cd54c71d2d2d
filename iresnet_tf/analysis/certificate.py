"""The certificate: every layer's operator norm next to its coefficient."""

from typing import Any

from iresnet_tf.analysis.study import finite_or_none
from iresnet_tf.layers import residual_blocks, spectral_layers
from iresnet_tf.models import FlowModel


def certify(model: FlowModel) -> dict[str, Any]:
    """Certifies the norms of all spectral layers and the Lipschitz constants of all blocks.

    All of them are upper bounds for the weights as they are now, decided by a Cholesky factor
    where it is affordable, and otherwise by the torus of frequencies.

    Returns:
        dict: ``certified`` (whether every block is below 1) and ``blocks``, each with its
        ``name``, ``lipschitz_bound`` (``None`` if not certified), ``certified``
        and ``layers`` (``name``, ``norm_bound``, ``coeff``).
    """
    blocks: list[dict[str, Any]] = []
    for block in residual_blocks(model.flow):
        bound = block.lipschitz_bound_or_inf()
        layers = [
            {"name": layer.name, "norm_bound": layer.lipschitz_bound(), "coeff": layer.coeff}
            for layer in spectral_layers(block)
        ]
        blocks.append(
            {
                "name": block.name,
                "lipschitz_bound": finite_or_none(bound),
                "certified": bound < 1.0,
                "layers": layers,
            }
        )
    return {"certified": all(block["certified"] for block in blocks), "blocks": blocks}
