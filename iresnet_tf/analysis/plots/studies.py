"""Draws the results of the studies."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from iresnet_tf.analysis.interpolation import Interpolation
from iresnet_tf.analysis.inverse_study import InverseStudy
from iresnet_tf.analysis.log_det_study import LogDetStudy, SeriesError
from iresnet_tf.analysis.outlier_study import OutlierStudy
from iresnet_tf.analysis.plots.canvas import BLUE, GREY, INK, RED, new_figure
from iresnet_tf.analysis.plots.images import image_grid
from iresnet_tf.analysis.plots.vectors import paths
from iresnet_tf.analysis.results import rounded_up
from iresnet_tf.analysis.spectrum_study import SpectrumStudy


def spectrum(study: SpectrumStudy) -> Figure:
    """Draws the singular values of each layer by rank, and the coefficients as lines."""
    figure = new_figure(7.4, 4.3)
    axes = figure.subplots()
    depth = Normalize(1, max(2, len(study.layers)))
    colours = colormaps["viridis"].resampled(256)
    for index, layer in enumerate(study.layers, 1):
        values = layer.singular_values
        rank = np.linspace(0.0, 1.0, len(values))
        style = "-" if layer.exact else ":"
        axes.plot(rank, values, style, color=colours(depth(index)), linewidth=1, alpha=0.8)
    for coeff in sorted({layer.coeff for layer in study.layers if layer.coeff is not None}):
        axes.axhline(coeff, color=RED, linestyle="--", linewidth=1, label=f"coefficient {coeff:g}")
    if not all(layer.exact for layer in study.layers):
        axes.plot([], [], ":", color=INK, label="upper bounds (torus)")
    axes.set(xlabel="rank of the singular value, as a fraction of their number")
    axes.set(ylabel="singular value", ylim=(0.0, None))
    axes.legend(frameon=False, loc="lower left")
    bar = figure.colorbar(ScalarMappable(depth, colours), ax=axes)
    bar.set_label("layer, from the data to the latent side")
    figure.tight_layout()
    return figure


def log_det(study: LogDetStudy) -> Figure:
    """Draws the bias of the power series with its bound, and its noise, by the number of terms."""
    figure = new_figure(10.4, 4.3)
    left, right = figure.subplots(1, 2)
    by_probes: dict[int, list[SeriesError]] = {}
    for error in study.estimates:
        by_probes.setdefault(error.probes, []).append(error)
    series = next(iter(by_probes.values()))
    terms = [error.terms for error in series]
    bias = _finite([error.bias for error in series])
    bound = _finite([error.truncation_bound for error in series])
    left.fill_between(terms, bound, alpha=0.25, color=GREY, label="certified bound")
    left.plot(terms, np.abs(bias), color=INK, linewidth=1, label="bias, absolute")
    for sign, marker, name in ((1.0, "^", "overstates"), (-1.0, "v", "understates")):
        if np.any(sign * bias > 0.0):
            chosen = np.where(sign * bias > 0.0, np.abs(bias), np.nan)
            left.plot(terms, chosen, marker, color=BLUE if sign > 0.0 else RED, label=name)
    left.set(yscale="log", ylabel="estimate − exact, nats a dimension")
    for (probes, errors), colour in zip(by_probes.items(), (BLUE, "#7a5195", RED, "#ef8a62")):
        label = f"{probes} probe{'s' if probes > 1 else ''}"
        right.plot(terms, [error.noise for error in errors], color=colour, marker="o", label=label)
    top = 1.25 * max(error.noise for error in study.estimates)
    right.set(ylabel="standard deviation, nats a dimension", ylim=(0.0, top or None))
    for axes, title in ((left, "truncation"), (right, "noise of one example's estimate")):
        axes.set_title(title, color=INK)
        axes.set_xscale("log")
        axes.set(xlabel="terms of the series")
        axes.set_xticks(terms, terms)
        axes.xaxis.set_minor_locator(NullLocator())
    left.legend(frameon=False)
    right.legend(frameon=False, loc="upper center", ncols=len(by_probes))
    figure.tight_layout()
    return figure


def inverse(study: InverseStudy) -> Figure:
    """Draws the error of the inverse by the number of iterations, one line for each curve."""
    block = study.block
    figure = new_figure(11.0 if block else 7.0, 4.6)
    panels = figure.subplots(1, 2 if block else 1, squeeze=False)[0]
    scaled = sum(not curve.name.startswith("trained") for curve in study.curves)
    colours = iter(colormaps["plasma"](np.linspace(0.0, 0.85, scaled)))
    for curve in study.curves:
        trained = curve.name.startswith("trained")
        dash = "--" if trained and not curve.name.endswith("Picard") else "-"
        style = {"color": INK if trained else next(colours), "linewidth": 2.2 if trained else 1.2}
        style |= {"marker": "o", "markersize": 3, "label": curve.name}
        panels[0].plot(study.iterations, _finite(curve.error), dash, **style)
    panels[0].set(ylabel="median ‖F⁻¹(F(x)) − x‖₂, units of the data")
    panels[0].set_title("the whole flow", color=INK)
    if block is not None:
        for solver, colour in zip(block.curves, (BLUE, RED)):
            lines = ((solver.error, "-", ""), (solver.error_bound, ":", ", bound"))
            for errors, dash, suffix in lines:
                values = _finite(errors)
                # A logarithmic axis cannot show an error of zero.
                values[values == 0.0] = np.nan
                label = solver.name + suffix
                style = {"color": colour, "marker": "o", "markersize": 3, "label": label}
                panels[1].plot(study.iterations, values, dash, **style)
        panels[1].set(ylabel="largest ‖error‖₂, units of the block's input")
        title = f"the trained block of largest L ≤ {rounded_up(block.lipschitz_bound, 3)}"
        panels[1].set_title(title, color=INK)
    for axes in panels:
        axes.set(yscale="log", xlabel="evaluations of g in each block")
        axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    return figure


def outliers(study: OutlierStudy) -> Figure:
    """Draws ROC curves: one panel for each score, one line for each set of outliers."""
    scores = sorted({curve.score for curve in study.curves})
    figure = new_figure(5.2 * len(scores), 4.8)
    for axes, score in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores):
        for curve in (curve for curve in study.curves if curve.score == score):
            label = f"{curve.against} (AUC {curve.auc:.3f})"
            axes.plot(curve.false_positive_rate, curve.true_positive_rate, label=label)
        axes.plot([0, 1], [0, 1], ":", color=GREY, linewidth=1)
        axes.set(xlabel="fraction of own test data flagged", ylabel="fraction of outliers flagged")
        axes.set_title(score, color=INK)
        axes.set_aspect("equal")
        axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    return figure


def interpolation(result: Interpolation) -> Figure:
    """Draws paths between data points: rows of a grid for images, else lines in the plane."""
    if result.levels is None:
        return paths(result.points)
    kind = "arcs" if result.spherical else "straight lines"
    title = f"data at both ends, between them {kind} in latent space"
    images = result.points.reshape(-1, *result.points.shape[2:])
    return image_grid(images, result.levels, columns=result.steps, title=title)


def _finite(values: Sequence[float]) -> np.ndarray:
    """Returns an array in which NaN, which is not drawn, replaces values that are not finite."""
    return np.where(np.isfinite(values), values, np.nan)
