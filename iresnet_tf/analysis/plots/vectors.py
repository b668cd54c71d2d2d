"""Pictures of points of the plane and of longer vectors."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from iresnet_tf.analysis.plots.canvas import BLUE, INK, RED, new_figure


def point_pairs(first: np.ndarray, second: np.ndarray) -> Figure:
    """Draws points of the plane ``[n, 2]`` as circles, and their counterparts as dots."""
    first, second = np.asarray(first), np.asarray(second)
    figure = new_figure(5.0, 5.0)
    axes = figure.subplots()
    axes.scatter(first[:, 0], first[:, 1], s=40, facecolors="none", edgecolors=BLUE, label="data")
    axes.scatter(second[:, 0], second[:, 1], s=6, color=RED, label="reconstruction")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def density_and_samples(
    log_prob: Callable[[np.ndarray], np.ndarray],
    samples: np.ndarray,
    data: np.ndarray,
    *,
    resolution: int = 120,
) -> Figure:
    """Draws a density of the plane, samples of the model, and the data, side by side.

    Args:
        log_prob: function ``[n, 2] → [n]``, nats.
        samples: samples of the model, ``[n, 2]``.
        data: ``[n, 2]``; they determine the window.
        resolution: number of grid points on each side.
    """
    data, samples = np.asarray(data), np.asarray(samples)
    low, high = data.min(0), data.max(0)
    margin = 0.15 * (high - low)
    (left, bottom), (right, top) = low - margin, high + margin
    grid = np.stack(
        np.meshgrid(np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)), -1
    )
    density = np.exp(np.asarray(log_prob(grid.reshape(-1, 2).astype(np.float32))))
    figure = new_figure(12.0, 4.3)
    panels = figure.subplots(1, 3)
    extent = (left, right, bottom, top)
    panels[0].imshow(
        density.reshape(resolution, resolution),
        origin="lower",
        extent=extent,
        cmap="magma",
        aspect="auto",
    )
    panels[0].set_title("density of the model", color=INK)
    for axes, points, name in ((panels[1], samples, "its samples"), (panels[2], data, "data")):
        axes.scatter(points[:, 0], points[:, 1], s=1.5, alpha=0.5, color=BLUE, linewidths=0)
        axes.set_title(name, color=INK)
        axes.set(xlim=(left, right), ylim=(bottom, top))
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.tight_layout()
    return figure


def columns(
    groups: Mapping[str, np.ndarray], *, names: Sequence[str] | None = None, shown: int = 5
) -> Figure:
    """Draws histograms of the first columns, and every pair of columns below them.

    Args:
        groups: arrays ``[n, columns]`` by their labels, drawn over one another.
        names: names of the columns.
        shown: largest number of columns that are drawn.
    """
    width = next(iter(groups.values())).shape[1]
    names = [f"x{index + 1}" for index in range(width)] if names is None else names
    size = min(width, shown)
    figure = new_figure(2.0 * size + 1.0, 2.0 * size + 1.0)
    panels = figure.subplots(size, size, squeeze=False)
    for (label, values), colour in zip(groups.items(), (BLUE, RED)):
        for row in range(size):
            for column in range(row):
                panels[row, column].scatter(
                    values[:, column], values[:, row], s=3, alpha=0.4, color=colour, linewidths=0
                )
            panels[row, row].hist(
                values[:, row], 40, density=True, histtype="step", color=colour, label=label
            )
    for row in range(size):
        panels[row, row].set_yticks([])
        for column in range(size):
            panels[row, column].set_visible(column <= row)
        panels[-1, row].set_xlabel(names[row])
        panels[row, 0].set_ylabel(names[row])
    panels[0, 0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def paths(points: np.ndarray) -> Figure:
    """Draws paths in the plane ``[paths, steps, 2]``, each a line from a circle to a disc."""
    figure = new_figure(5.0, 5.0)
    axes = figure.subplots()
    for index, path in enumerate(points):
        (line,) = axes.plot(*path.T, marker=".", markersize=4, linewidth=1)
        names = ("first point", "second point") if index == 0 else (None, None)
        for end, fill, name in zip((path[0], path[-1]), ("none", line.get_color()), names):
            axes.plot(*end, "o", markerfacecolor=fill, color=line.get_color(), label=name)
    axes.set(xlabel="x₁", ylabel="x₂")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure
