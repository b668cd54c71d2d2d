"""Evaluations, certificates and studies of trained models, and their pictures."""

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.certificate import certify
from iresnet_tf.analysis.evaluation import (
    classification,
    evaluate,
    likelihood,
    negative_log_likelihoods,
    reconstruction,
)
from iresnet_tf.analysis.interpolation import interpolate
from iresnet_tf.analysis.inverse_error import inverse_study
from iresnet_tf.analysis.log_det_bias import log_det_study
from iresnet_tf.analysis.outlier_scores import out_of_distribution
from iresnet_tf.analysis.samples import reconstructed, samples_figure
from iresnet_tf.analysis.spectra import singular_values, spectrum

__all__ = [
    "certify",
    "classification",
    "evaluate",
    "interpolate",
    "inverse_study",
    "likelihood",
    "log_det_study",
    "negative_log_likelihoods",
    "out_of_distribution",
    "plots",
    "reconstructed",
    "reconstruction",
    "samples_figure",
    "singular_values",
    "spectrum",
]
