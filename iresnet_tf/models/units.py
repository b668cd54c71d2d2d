"""Checks that a model resolves its first data, in the units in which they come."""

import warnings

import numpy as np
import tensorflow as tf

from iresnet_tf.layers import Invertible, ResidualBlock, residual_blocks

LARGEST_LOSS = 0.05
"""Largest rounding of an element on its way into the model, in its standard deviations."""

USUAL_SIZES = 1e-2, 1e2
"""Root mean squares of a block's input for which steps and tolerances of usual size are right."""


def require_resolved(x: np.ndarray | tf.Tensor, dtype: str) -> None:
    """Raises `ValueError` if the examples vary by little more than the rounding of ``dtype``."""
    if not isinstance(x, np.ndarray) or np.can_cast(x.dtype, dtype):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        lost = np.sqrt(np.mean(np.square(x - x.astype(dtype).astype(x.dtype)), axis=0))
    stddev = x.std(0)
    relative = lost / np.where(x.min(0) < x.max(0), stddev, np.inf)
    if np.any(relative > LARGEST_LOSS):
        worst = int(np.argmax(relative))
        raise ValueError(
            f"Element {worst} of a sample varies by {stddev.flat[worst]:g} around "
            f"{x.mean(0).flat[worst]:g}, which {dtype} does not resolve. Subtract a constant from "
            "it."
        )


def warn_of_units(flow: Invertible, x: tf.Tensor) -> None:
    """Warns if the first residual block of a built flow receives numbers far from order 1."""
    block, received = _first_block(flow, x)
    size = float(np.sqrt(np.mean(np.square(np.asarray(received, np.float64)))))
    if size and not USUAL_SIZES[0] <= size <= USUAL_SIZES[1]:
        warnings.warn(
            f"{block.name} receives data of root mean square {size:.3g}, in which learning rates "
            "and the tolerance of its solver are absolute. Put ActNorm() before it, or "
            "Standardize(mean, stddev) into the preprocessing.",
            stacklevel=4,
        )


def _first_block(layer, x):
    """Returns the first residual block and its input; 1.0 if that input is not known."""
    if isinstance(layer, ResidualBlock):
        return layer, x
    for part, received in layer._part_inputs(x):
        if residual_blocks(part):
            return _first_block(part, received)
        if part.is_conditional:
            break
    return layer, 1.0
