"""Evaluations, certificates and studies of a model; `plots` draws their results."""

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.calibration_study import CalibrationStudy, study_calibration
from iresnet_tf.analysis.certificate import Certificate, certify
from iresnet_tf.analysis.class_log_probabilities import class_log_probs
from iresnet_tf.analysis.evaluation import Evaluation, evaluate
from iresnet_tf.analysis.interpolation import Interpolation, interpolate
from iresnet_tf.analysis.inverse_study import InverseStudy, study_inverse
from iresnet_tf.analysis.log_det_study import LogDetStudy, study_log_det
from iresnet_tf.analysis.log_probabilities import LogProbs, log_probs
from iresnet_tf.analysis.outlier_study import OutlierStudy, study_outliers
from iresnet_tf.analysis.results import Result
from iresnet_tf.analysis.spectrum_study import SpectrumStudy, study_spectrum

__all__ = [
    "CalibrationStudy",
    "Certificate",
    "Evaluation",
    "Interpolation",
    "InverseStudy",
    "LogDetStudy",
    "LogProbs",
    "OutlierStudy",
    "Result",
    "SpectrumStudy",
    "certify",
    "class_log_probs",
    "evaluate",
    "interpolate",
    "log_probs",
    "plots",
    "study_calibration",
    "study_inverse",
    "study_log_det",
    "study_outliers",
    "study_spectrum",
]
