"""Pictures of data and samples, 2-D densities and paths, and the curves of the studies."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from iresnet_tf.analysis.interpolation import Interpolation
from iresnet_tf.analysis.inverse_error import InverseStudy
from iresnet_tf.analysis.log_det_bias import Estimate, LogDetStudy
from iresnet_tf.analysis.outlier_scores import OutOfDistribution
from iresnet_tf.analysis.spectra import Spectrum

_INK, _BLUE, _RED = "#222222", "#3b4cc0", "#b40426"
_TITLE = 0.25
"""Height of the title of a grid, inches."""


def image_grid(
    images: np.ndarray, levels: int, columns: int | None = None, title: str | None = None
) -> Figure:
    """Draws a grid of images in the style of a contact sheet.

    Args:
        images: ``[n, h, w, c]`` with values in ``[0, levels − 1]``; one or three channels.
        levels: number of levels.
        columns: number of images in a row; by default the grid is about square.
        title: a line above the grid.
    """
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
    scale = 6.0 / max(sheet.shape[:2])
    wide, high = sheet.shape[1] * scale, sheet.shape[0] * scale
    above = 0.0 if title is None else _TITLE
    figure = _figure((wide, high + above))
    axes = figure.add_axes((0, 0, 1, high / (high + above)))
    if title is not None:
        middle = 1.0 - 0.5 * above / (high + above)
        figure.text(0.5, middle, title, ha="center", va="center", color=_INK, fontsize=8)
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_axis_off()
    return figure


def pairs(first: np.ndarray, second: np.ndarray, levels: int) -> Figure:
    """Draws rows of images, each of ``first`` above its counterpart in ``second``."""
    first, second = np.asarray(first), np.asarray(second)
    columns = min(len(first), 16)
    blank = np.full((-len(first) % columns, *first.shape[1:]), levels - 1, first.dtype)
    rows = []
    for images in (first, second):
        filled = np.concatenate([images, blank.astype(images.dtype)])
        rows.append(filled.reshape(-1, columns, *first.shape[1:]))
    interleaved = np.stack(rows, axis=1).reshape(-1, *first.shape[1:])
    return image_grid(interleaved, levels, columns, "each row of data above its reconstruction")


def point_pairs(first: np.ndarray, second: np.ndarray) -> Figure:
    """Draws 2-D points ``[n, 2]`` as circles, with their counterparts as dots inside them."""
    first, second = np.asarray(first), np.asarray(second)
    figure = _figure((5.0, 5.0))
    axes = figure.subplots()
    axes.scatter(*first.T, s=40, facecolors="none", edgecolors=_BLUE, label="data")
    axes.scatter(*second.T, s=6, color=_RED, label="reconstruction")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def density_and_samples(
    log_prob: Callable[[np.ndarray], np.ndarray],
    samples: np.ndarray,
    data: np.ndarray,
    resolution: int = 120,
) -> Figure:
    """Draws a 2-D density on a grid, samples of the model, and the data, side by side.

    Args:
        log_prob: function ``[n, 2] → [n]``, nats.
        samples: samples of the model, ``[n, 2]``.
        data: ``[n, 2]``; the window fits them.
        resolution: number of grid points on a side.
    """
    data, samples = np.asarray(data), np.asarray(samples)
    low, high = data.min(0), data.max(0)
    margin = 0.15 * (high - low)
    (left, bottom), (right, top) = low - margin, high + margin
    grid = np.stack(
        np.meshgrid(np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)), -1
    )
    density = np.exp(np.asarray(log_prob(grid.reshape(-1, 2).astype(np.float32))))
    figure = _figure((12.0, 4.3))
    panels = figure.subplots(1, 3)
    extent = (left, right, bottom, top)
    panels[0].imshow(
        density.reshape(resolution, resolution),
        origin="lower",
        extent=extent,
        cmap="magma",
        aspect="auto",
    )
    panels[0].set_title("density of the model", color=_INK)
    for axes, points, name in ((panels[1], samples, "its samples"), (panels[2], data, "data")):
        axes.scatter(points[:, 0], points[:, 1], s=1.5, alpha=0.5, color=_BLUE, linewidths=0)
        axes.set_title(name, color=_INK)
        axes.set(xlim=(left, right), ylim=(bottom, top))
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.tight_layout()
    return figure


def columns(
    groups: Mapping[str, np.ndarray], names: Sequence[str] | None = None, shown: int = 5
) -> Figure:
    """Draws histograms of the first columns, and below them each pair of columns as points.

    Args:
        groups: label → ``[n, columns]``, drawn one over the other.
        names: names of the columns.
        shown: largest number of columns drawn.
    """
    width = next(iter(groups.values())).shape[1]
    names = [f"x{index + 1}" for index in range(width)] if names is None else names
    size = min(width, shown)
    figure = _figure((2.0 * size + 1.0, 2.0 * size + 1.0))
    panels = figure.subplots(size, size, squeeze=False)
    for (label, values), colour in zip(groups.items(), (_BLUE, _RED)):
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


def paths(study: Interpolation) -> Figure:
    """Draws paths of images as rows of a grid, and those of 2-D points as lines.

    A line leads from a circle to a disc.
    """
    if study.levels is not None:
        kind = "arcs" if study.spherical else "straight lines"
        title = f"data at both ends, between them {kind} in latent space"
        images = study.points.reshape(-1, *study.points.shape[2:])
        return image_grid(images, study.levels, study.steps, title)
    figure = _figure((5.0, 5.0))
    axes = figure.subplots()
    for index, path in enumerate(study.points):
        (line,) = axes.plot(*path.T, marker=".", markersize=4, linewidth=1)
        names = ("first point", "second point") if index == 0 else (None, None)
        for end, fill, name in zip((path[0], path[-1]), ("none", line.get_color()), names):
            axes.plot(*end, "o", markerfacecolor=fill, color=line.get_color(), label=name)
    axes.set(xlabel="x₁", ylabel="x₂")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def spectra(study: Spectrum) -> Figure:
    """Draws singular values by rank, one line for each layer, and the coefficients."""
    layers = study.layers
    figure = _figure((7.4, 4.3))
    axes = figure.subplots()
    depth = Normalize(1, max(2, len(layers)))
    colours = colormaps["viridis"].resampled(256)
    for index, layer in enumerate(layers, 1):
        rank = np.linspace(0.0, 1.0, len(layer.singular_values))
        style, colour = "-" if layer.exact else ":", colours(depth(index))
        axes.plot(rank, layer.singular_values, style, color=colour, linewidth=1, alpha=0.8)
    for coeff in sorted({layer.coeff for layer in layers if layer.coeff is not None}):
        axes.axhline(coeff, color=_RED, linestyle="--", linewidth=1, label=f"coefficient {coeff:g}")
    if not all(layer.exact for layer in layers):
        methods = sorted({layer.method for layer in layers if not layer.exact})
        axes.plot([], [], ":", color=_INK, label=f"upper bounds ({', '.join(methods)})")
    axes.set(xlabel="rank of the singular value, as a fraction of their number")
    axes.set(ylabel="singular value", ylim=(0.0, None))
    axes.legend(frameon=False, loc="lower left")
    bar = figure.colorbar(ScalarMappable(depth, colours), ax=axes)
    bar.set_label("layer, from the data to the latent side")
    figure.tight_layout()
    return figure


def estimates(study: LogDetStudy) -> Figure:
    """Draws bias of the power series with its bound, and its noise, by the number of terms."""
    figure = _figure((10.4, 4.3))
    left, right = figure.subplots(1, 2)
    by_probes: dict[int, list[Estimate]] = {}
    for estimate in study.estimates:
        by_probes.setdefault(estimate.probes, []).append(estimate)
    series = next(iter(by_probes.values()))
    terms = [estimate.terms for estimate in series]
    bias = np.array([estimate.bias for estimate in series])
    bound = np.array([estimate.truncation_bound for estimate in series])
    left.fill_between(terms, bound, alpha=0.25, color="#888888", label="certified bound")
    left.plot(terms, np.abs(bias), color=_INK, linewidth=1, label="bias, absolute")
    for sign, marker, name in ((1.0, "^", "overstates"), (-1.0, "v", "understates")):
        if np.any(sign * bias > 0.0):
            chosen = np.where(sign * bias > 0.0, np.abs(bias), np.nan)
            left.plot(terms, chosen, marker, color=_BLUE if sign > 0.0 else _RED, label=name)
    left.set(yscale="log", ylabel="estimate − exact, nats a dimension")
    for (probes, rows), colour in zip(by_probes.items(), (_BLUE, "#7a5195", _RED, "#ef8a62")):
        label = f"{probes} probe{'s' if probes > 1 else ''}"
        right.plot(terms, [row.noise for row in rows], color=colour, marker="o", label=label)
    top = 1.25 * max(estimate.noise for estimate in study.estimates)
    right.set(ylabel="standard deviation, nats a dimension", ylim=(0.0, top or None))
    for axes, title in ((left, "truncation"), (right, "noise of one example's estimate")):
        axes.set_title(title, color=_INK)
        axes.set_xscale("log")
        axes.set(xlabel="terms of the series")
        axes.set_xticks(terms, terms)
        axes.xaxis.set_minor_locator(NullLocator())
    left.legend(frameon=False)
    right.legend(frameon=False, loc="upper center", ncols=len(by_probes))
    figure.tight_layout()
    return figure


def convergence(study: InverseStudy) -> Figure:
    """Draws the error of the inverse by iterations, of the whole flow and of one block."""
    block = study.block
    figure = _figure((11.0 if block else 7.0, 4.6))
    panels = np.atleast_1d(figure.subplots(1, 2 if block else 1))
    scaled = sum(curve.norm is not None for curve in study.curves)
    colours = iter(colormaps["plasma"](np.linspace(0.0, 0.85, scaled)))
    for curve in study.curves:
        trained = curve.norm is None
        panels[0].plot(study.iterations, curve.error, "-" if curve.solver == "Picard" else "--",
                       color=_INK if trained else next(colours),
                       linewidth=2.2 if trained else 1.2,
                       marker="o", markersize=3, label=curve.name)  # fmt: skip
    panels[0].set(ylabel="median ‖F⁻¹(F(x)) − x‖₂, units of the data")
    panels[0].set_title("the whole flow", color=_INK)
    if block:
        for errors, colour in zip(block.curves, (_BLUE, _RED)):
            lines = ((errors.error, "-", ""), (errors.error_bound, ":", ", bound"))
            for values, dash, name in lines:
                # A logarithmic axis has no place for an error of zero.
                shown = [value if value else np.nan for value in values]
                panels[1].plot(study.iterations, shown, dash, color=colour, marker="o",
                               markersize=3, label=errors.name + name)  # fmt: skip
        panels[1].set(ylabel="largest ‖error‖₂, units of the block's input")
        title = f"the trained block of largest L ≤ {block.lipschitz_bound:.3f}"
        panels[1].set_title(title, color=_INK)
    for axes in panels:
        axes.set(yscale="log", xlabel="evaluations of g in each block")
        axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    return figure


def roc_curves(study: OutOfDistribution) -> Figure:
    """Draws ROC curves, one panel for each score and one line for each set of outliers."""
    scores = sorted({curve.score for curve in study.curves})
    figure = _figure((5.2 * len(scores), 4.8))
    for axes, score in zip(np.atleast_1d(figure.subplots(1, len(scores))), scores):
        for curve in study.curves:
            if curve.score == score:
                label = f"{curve.against} (AUC {curve.auc:.3f})"
                axes.plot(curve.false_positive_rate, curve.true_positive_rate, label=label)
        axes.plot([0, 1], [0, 1], ":", color="#888888", linewidth=1)
        axes.set(xlabel="of the model's own test data, flagged", ylabel="of the others, flagged")
        axes.set_title(score, color=_INK)
        axes.set_aspect("equal")
        axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    return figure


def as_array(figure: Figure) -> np.ndarray:
    """Returns the figure's pixels, ``uint8 [1, height, width, 3]``, for TensorBoard."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[np.newaxis, :, :, :3]


def _figure(size):
    figure = Figure(figsize=size, dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    return figure
