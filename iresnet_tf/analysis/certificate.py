"""The certificate: every layer's operator norm beside its coefficient."""

import math

from iresnet_tf.layers import residual_blocks, spectral_layers


def certify(model):
    """Certified norms of all spectral layers and Lipschitz constants of all blocks.

    The figures hold for the weights as they are: upper bounds, decided by a
    Cholesky factor where it is affordable, else by the torus of frequencies.

    Args:
        model: a model with a ``flow``.

    Returns:
        dict: ``certified`` (every block below 1) and ``blocks``, each with its
        ``name``, ``lipschitz_bound`` (``None`` where not certified), ``certified``
        and ``layers`` (``name``, ``norm_bound``, ``coeff``).
    """
    blocks = []
    for part in residual_blocks(model.flow):
        bound = part.lipschitz_bound_or_inf()
        layers = [
            {"name": layer.name, "norm_bound": layer.lipschitz_bound(), "coeff": layer.coeff}
            for layer in spectral_layers(part)
        ]
        blocks.append(
            {
                "name": part.name,
                "lipschitz_bound": bound if math.isfinite(bound) else None,
                "certified": bound < 1.0,
                "layers": layers,
            }
        )
    return {"certified": all(block["certified"] for block in blocks), "blocks": blocks}
