"""Draws the ranks of a calibration study."""

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from iresnet_tf.analysis.calibration_study import CalibrationStudy
from iresnet_tf.analysis.plots.canvas import BLUE, GREY, INK, new_figure

SHOWN = 12


def calibration(study: CalibrationStudy) -> Figure:
    """Draws a histogram of the ranks of each parameter (the first twelve).

    The grey band holds 99 % of the counts of a bin if the ranks are uniform.
    """
    columns = study.columns[:SHOWN]
    width = min(4, len(columns))
    height = -(-len(columns) // width)
    figure = new_figure(3.4 * width, 2.9 * height)
    panels = figure.subplots(height, width, squeeze=False).ravel()
    for axes, column in zip(panels, columns):
        bins = len(column.counts)
        low, high = stats.binom.interval(0.99, study.examples, 1.0 / bins)
        axes.axhspan(low, high, color=GREY, alpha=0.3, linewidth=0)
        axes.axhline(study.examples / bins, color=GREY, linewidth=1)
        edges = np.linspace(0, study.draws + 1, bins + 1)
        axes.stairs(column.counts, edges, color=BLUE, fill=True, alpha=0.7)
        axes.set(xlabel="rank", ylabel="examples", ylim=(0.0, None))
        axes.set_title(f"{column.name}: p = {column.p_value:.2g}", color=INK)
    for axes in panels[len(columns) :]:
        axes.set_visible(False)
    figure.tight_layout()
    return figure
