"""Estimators of the log-determinant of a residual block."""

from typing import Any

import keras

from iresnet_tf.numerics.log_det.coloured import Coloured
from iresnet_tf.numerics.log_det.estimator import MARGIN, LogDet, truncation_bound
from iresnet_tf.numerics.log_det.exact import Exact
from iresnet_tf.numerics.log_det.krylov import Krylov
from iresnet_tf.numerics.log_det.power_series import PowerSeries
from iresnet_tf.numerics.log_det.russian_roulette import RussianRoulette
from iresnet_tf.numerics.log_det.series import Series

__all__ = [
    "MARGIN",
    "Coloured",
    "Exact",
    "Krylov",
    "LogDet",
    "PowerSeries",
    "RussianRoulette",
    "Series",
    "get",
    "truncation_bound",
]


def get(identifier: LogDet | dict[str, Any]) -> LogDet:
    """Returns an estimator that is given as an object or as its serialised configuration.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(identifier, LogDet):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        "log_det is an estimator, for example PowerSeries(terms=10), RussianRoulette() or Exact(); "
        f"received {identifier!r}."
    )
