"""Draws grids of images."""

import numpy as np
from matplotlib.figure import Figure

from iresnet_tf.analysis.plots.canvas import INK, new_figure

_TITLE = 0.25
"""Height of the title of a grid in inches."""


def image_grid(
    images: np.ndarray, levels: int, *, columns: int | None = None, title: str | None = None
) -> Figure:
    """Draws images in a grid.

    Args:
        images: ``[n, h, w, c]`` with values in ``[0, levels − 1]``; one or three channels.
        levels: number of levels.
        columns: number of images in a row; by default the grid is about square.
        title: a line above the grid.
    """
    sheet = image_sheet(images, levels, columns=columns)
    scale = 6.0 / max(sheet.shape[:2])
    wide, high = sheet.shape[1] * scale, sheet.shape[0] * scale
    above = 0.0 if title is None else _TITLE
    figure = new_figure(wide, high + above)
    axes = figure.add_axes((0, 0, 1, high / (high + above)))
    if title is not None:
        middle = 1.0 - 0.5 * above / (high + above)
        figure.text(0.5, middle, title, ha="center", va="center", color=INK, fontsize=8)
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_axis_off()
    return figure


def image_sheet(images: np.ndarray, levels: int, *, columns: int | None = None) -> np.ndarray:
    """Returns the grid of `image_grid` as one image ``[height, width, channels]`` in [0, 1]."""
    images = np.clip(np.asarray(images, np.float32) / (levels - 1), 0.0, 1.0)
    count, height, width, channels = images.shape
    columns = columns or max(1, int(np.ceil(np.sqrt(count))))
    rows = -(-count // columns)
    gap = max(1, height // 8)
    sheet = np.ones((rows * (height + gap) + gap, columns * (width + gap) + gap, channels))
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def image_pairs(first: np.ndarray, second: np.ndarray, levels: int) -> Figure:
    """Draws rows of images, each row of ``first`` above its counterparts in ``second``."""
    first, second = np.asarray(first), np.asarray(second)
    columns = min(len(first), 16)
    blank = np.full((-len(first) % columns, *first.shape[1:]), levels - 1, first.dtype)
    rows = []
    for images in (first, second):
        filled = np.concatenate([images, blank.astype(images.dtype)])
        rows.append(filled.reshape(-1, columns, *first.shape[1:]))
    interleaved = np.stack(rows, axis=1).reshape(-1, *first.shape[1:])
    title = "each row of data above its reconstruction"
    return image_grid(interleaved, levels, columns=columns, title=title)
