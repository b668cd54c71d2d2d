"""Draws images, points, vectors, the samples of a model, and the results of studies."""

from iresnet_tf.analysis.plots.calibration import calibration
from iresnet_tf.analysis.plots.canvas import as_array
from iresnet_tf.analysis.plots.images import image_grid, image_pairs, image_sheet
from iresnet_tf.analysis.plots.models import conditional_samples, reconstructions, samples
from iresnet_tf.analysis.plots.studies import interpolation, inverse, log_det, outliers, spectrum
from iresnet_tf.analysis.plots.vectors import columns, density_and_samples, paths, point_pairs

__all__ = [
    "as_array",
    "calibration",
    "columns",
    "conditional_samples",
    "density_and_samples",
    "image_grid",
    "image_pairs",
    "image_sheet",
    "interpolation",
    "inverse",
    "log_det",
    "outliers",
    "paths",
    "point_pairs",
    "reconstructions",
    "samples",
    "spectrum",
]
