"""The estimators of the log-determinant: `Exact`, `PowerSeries`, `RussianRoulette`."""

import keras

from iresnet_tf.numerics.log_det.estimator import LogDet, truncation_bound
from iresnet_tf.numerics.log_det.exact import Exact
from iresnet_tf.numerics.log_det.power_series import PowerSeries
from iresnet_tf.numerics.log_det.russian_roulette import RussianRoulette

__all__ = ["Exact", "LogDet", "PowerSeries", "RussianRoulette", "get", "truncation_bound"]


def get(identifier):
    """The estimator itself, from an estimator or its serialised configuration."""
    if isinstance(identifier, LogDet):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        "log_det is an estimator, as PowerSeries(terms=10), RussianRoulette() or Exact(); "
        f"received {identifier!r}."
    )
