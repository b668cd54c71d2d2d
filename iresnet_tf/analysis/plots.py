"""Pictures of data, samples, reconstructions and 2-D densities."""

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_INK = "#222222"


def image_grid(images, levels, title=None, columns=None):
    """A grid of images in the style of a contact sheet.

    Args:
        images: ``[n, h, w, c]`` with values in ``[0, levels − 1]``; one or three channels.
        levels: number of levels.
        title: above the grid.
        columns: images a row; about square by default.

    Returns:
        `matplotlib.figure.Figure`.
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
    header = 0.35 if title else 0.0
    figure = _figure((sheet.shape[1] * scale, sheet.shape[0] * scale + header))
    axes = figure.add_axes((0, 0, 1, 1 - header / figure.get_figheight()))
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title, color=_INK, fontsize=11)
    return figure


def pairs(first, second, levels, title=None):
    """Rows of images, each of ``first`` above its counterpart in ``second``."""
    first, second = np.asarray(first), np.asarray(second)
    columns = min(len(first), 16)
    blank = np.full((-len(first) % columns, *first.shape[1:]), levels - 1, first.dtype)
    rows = []
    for images in (first, second):
        filled = np.concatenate([images, blank.astype(images.dtype)])
        rows.append(filled.reshape(-1, columns, *first.shape[1:]))
    interleaved = np.stack(rows, axis=1).reshape(-1, *first.shape[1:])
    return image_grid(interleaved, levels, title, columns)


def point_pairs(first, second):
    """2-D points ``[n, 2]`` as circles, with their counterparts as dots inside them."""
    first, second = np.asarray(first), np.asarray(second)
    figure = _figure((5.0, 5.0))
    axes = figure.subplots()
    axes.scatter(*first.T, s=40, facecolors="none", edgecolors="#3b4cc0", label="data")
    axes.scatter(*second.T, s=6, color="#b40426", label="reconstruction")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def density_and_samples(log_prob, samples, data, title=None, resolution=120):
    """A 2-D density on a grid, samples of the model, and the data, side by side.

    Args:
        log_prob: function ``[n, 2] → [n]``, nats.
        samples: ``[n, 2]`` of the model.
        data: ``[n, 2]``; sets the window.
        title: above the panels.
        resolution: grid points a side.
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
        axes.scatter(points[:, 0], points[:, 1], s=1.5, alpha=0.5, color="#3b4cc0", linewidths=0)
        axes.set_title(name, color=_INK)
        axes.set(xlim=(left, right), ylim=(bottom, top))
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    if title:
        figure.suptitle(title, color=_INK)
    figure.tight_layout()
    return figure


def paths(points):
    """2-D paths ``[paths, steps, 2]``, each a line from a circle to a disc."""
    figure = _figure((5.0, 5.0))
    axes = figure.subplots()
    for path in points:
        (line,) = axes.plot(*path.T, marker=".", markersize=3, linewidth=1)
        axes.plot(*path[0], "o", markerfacecolor="none", color=line.get_color())
        axes.plot(*path[-1], "o", color=line.get_color())
    figure.tight_layout()
    return figure


def spectra(layers):
    """Singular values by rank, a line a layer, against the coefficients: see `spectrum`."""
    figure = _figure((7.0, 4.3))
    axes = figure.subplots()
    colours = colormaps["viridis"](np.linspace(0.0, 0.9, max(1, len(layers))))
    for layer, colour in zip(layers, colours):
        values = layer["singular_values"]
        rank = np.linspace(0.0, 1.0, len(values))
        style = "-" if layer["exact"] else ":"
        axes.plot(rank, values, style, color=colour, linewidth=1, alpha=0.8)
    for coeff in {layer["coeff"] for layer in layers}:
        axes.axhline(coeff, color="#b40426", linestyle="--", linewidth=1)
        axes.annotate(f"coefficient {coeff:g}", (1.0, coeff), (-4, 4), ha="right", color="#b40426",
                      textcoords="offset points")  # fmt: skip
    axes.set(xlabel="rank, as a fraction", ylabel="singular value", ylim=(0.0, None))
    axes.set_title("constrained layers, data side dark to latent side light", color=_INK)
    figure.tight_layout()
    return figure


def estimates(rows):
    """Bias of the power series with its bound, and its noise, by terms: see `log_det_study`."""
    figure = _figure((10.0, 4.3))
    left, right = figure.subplots(1, 2)
    for number, colour in zip(sorted({row["probes"] for row in rows}), ("#3b4cc0", "#b40426")):
        mine = [row for row in rows if row["probes"] == number]
        terms = [row["terms"] for row in mine]
        label = f"{number} probe{'s' if number > 1 else ''}"
        bias = [row["bias"] for row in mine]
        error = [2.0 * row["standard_error"] for row in mine]
        left.errorbar(terms, bias, error, color=colour, marker="o", markersize=3, label=label)
        right.plot(terms, [row["noise"] for row in mine], color=colour, marker="o", label=label)
    bound = np.array([row["truncation_bound"] for row in mine])
    left.fill_between(terms, -bound, bound, color="#bbbbbb", alpha=0.4, label="truncation bound")
    left.axhline(0.0, color=_INK, linewidth=0.8)
    left.set_yscale("symlog", linthresh=1e-4)
    left.set(xlabel="terms", ylabel="estimate − exact, nats a dimension")
    right.set(xlabel="terms", ylabel="standard deviation of one estimate, nats a dimension")
    right.set_ylim(0.0, None)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(terms, terms)
        axes.minorticks_off()
        axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def convergence(iterations, curves):
    """Error of the inverse by iterations, a line a curve: see `inverse_study`."""
    figure = _figure((7.0, 4.8))
    axes = figure.subplots()
    colours = colormaps["plasma"](np.linspace(0.0, 0.85, len(curves)))
    for curve, colour in zip(curves, colours):
        style = "-" if curve["name"].startswith("trained") else "--"
        axes.plot(iterations, curve["error"], style, color=colour, marker="o", markersize=3,
                  label=curve["name"])  # fmt: skip
    axes.set(yscale="log", xlabel="evaluations of g, each block", ylabel="‖F⁻¹(F(x)) − x‖₂, median")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def as_array(figure):
    """The figure's pixels, ``uint8 [1, height, width, 3]``, for TensorBoard."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[np.newaxis, :, :, :3]


def _figure(size):
    figure = Figure(figsize=size, dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    return figure
