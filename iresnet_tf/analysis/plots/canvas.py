"""The canvas of every picture: figures without a display, and their colours."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, BLUE, RED, GREY = "#222222", "#3b4cc0", "#b40426", "#888888"


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of that size, inches."""
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def as_array(figure: Figure) -> np.ndarray:
    """Returns the pixels of a figure, ``uint8 [1, height, width, 3]``, for TensorBoard."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[np.newaxis, :, :, :3]
