"""Prints the table of a model's blocks below the summary of Keras."""

import math
import shutil
from collections.abc import Callable
from typing import Any

import rich.console
import rich.table

from iresnet_tf.layers import residual_blocks, spectral_layers, vouched_blocks

WIDTH = 88
"""Largest width of the table in columns: the width of Keras's summary."""


def print_blocks(
    model: Any,
    line_length: int | None = None,
    print_fn: Callable[[str], object] | None = None,
    expand_nested: bool = False,
) -> None:
    """Prints a row for every residual block: its branch ``g``, parameters and certified bound.

    A star marks a bound that rests on a constant that somebody vouched for.
    With ``expand_nested``, every constrained layer has a row too, with its certified norm.  For the
    other arguments see `keras.Model.summary`.
    """
    width = line_length or min(WIDTH, shutil.get_terminal_size().columns - 4)
    table = rich.table.Table(width=width)
    table.add_column("Block", ratio=5)
    table.add_column("g", ratio=5)
    table.add_column("Param #", justify="right", ratio=2)
    table.add_column("Lip(g) ≤", justify="right", ratio=2)
    vouched = vouched_blocks(model.flow)
    if vouched:
        table.caption = "* not certified: somebody vouched for a constant"
    blocks = residual_blocks(model.flow)
    for block, (name, bound) in zip(blocks, model.lipschitz_bounds().items()):
        inner = spectral_layers(block)
        figure = f"{bound:.4f}{'*' if name in vouched else ''}"
        table.add_row(block.name, _branch(block, inner), _count(block), figure)
        for layer in inner if expand_nested else ():
            shape = "×".join(map(str, layer.kernel.shape))
            norm = f"{layer.lipschitz_bound():.4f}"
            table.add_row(f"  └ {layer.name}", shape, _count(layer), norm)
    console = rich.console.Console(
        width=width, highlight=False, color_system=None if print_fn else "auto"
    )
    if print_fn is None:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    print_fn(captured.get())


def _branch(block: Any, inner: list) -> str:
    """Returns the event shape and the channels of each layer, such as ``8×8×1 → 64 → 64 → 1``."""
    event = "×".join(map(str, block.event_shape))
    return " → ".join([event, *(str(layer.kernel.shape[-1]) for layer in inner)])


def _count(layer: Any) -> str:
    """Returns the number of trainable parameters, with a comma between thousands."""
    return f"{sum(math.prod(weight.shape) for weight in layer.trainable_weights):,}"
