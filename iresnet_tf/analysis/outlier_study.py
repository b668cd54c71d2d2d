"""Measures how well a density tells its own data from data that it was not trained on."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from iresnet_tf.analysis.likelihood import negative_log_likelihoods
from iresnet_tf.analysis.results import Result
from iresnet_tf.models import DensityModel, bits_per_dim
from iresnet_tf.numerics import log_det


@dataclasses.dataclass(frozen=True)
class Summary(Result):
    """Mean and standard deviation of ``−log p`` over a set of examples."""

    examples: int
    mean: float
    standard_deviation: float


@dataclasses.dataclass(frozen=True)
class RocCurve(Result):
    """The ROC curve of a detector that flags examples with a score above a threshold.

    Attributes:
        score: ``"likelihood"`` or ``"typicality"``.
        against: name of the outliers.
        auc: area under the curve: the probability that an outlier has a higher score than an
            example of the model's own data.
        false_positive_rate: fraction of the model's own data that each threshold flags.
        true_positive_rate: fraction of the outliers that each threshold flags.
    """

    score: str
    against: str
    auc: float
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class OutlierStudy(Result):
    """The comparison of the scores of outliers with those of the model's own test data.

    Attributes:
        unit: the unit of ``−log p``: ``"bits/dim"`` for levels, else ``"nats"``.
        entropy: ``H``, the mean of ``−log p`` over training data.
        inside: ``−log p`` of the model's own test data.
        others: ``−log p`` of each set of outliers.
        curves: a ROC curve for each score and each set of outliers.
    """

    unit: str
    entropy: float
    inside: Summary
    others: dict[str, Summary]
    curves: tuple[RocCurve, ...]


def likelihood_score(nats: np.ndarray) -> np.ndarray:
    """``−log p(x)``: higher for less likely examples."""
    return np.asarray(nats)


def typicality_score(nats: np.ndarray, entropy: float) -> np.ndarray:
    """``|−log p(x) − H|``: higher for examples outside the typical set, even very likely ones.

    The entropy ``H`` is the mean of ``−log p`` over training data.

    Source: Nalisnick et al. 2019 (arXiv:1906.02994), eq. 4, for one example at a time.
    """
    return np.abs(np.asarray(nats) - entropy)


def study_outliers(
    model: DensityModel,
    typical: np.ndarray,
    inside: np.ndarray,
    others: Mapping[str, np.ndarray],
    *,
    estimator: log_det.LogDet | None = None,
    seed: int = 0,
) -> OutlierStudy:
    """Scores outliers and the model's own test data, and compares them by ROC curves.

    Args:
        model: a built `DensityModel`.
        typical: training data ``[n, …event]``, for the entropy ``H``.
        inside: the model's own test data ``[m, …event]``.
        others: sets of outliers by name: data of that shape on which the model was not trained.
        estimator: estimator of the log-determinant; the default is that of
            `iresnet_tf.analysis.likelihood.choose_estimator`.
        seed: seed of noise and probes.

    Raises:
        ValueError: for a model without a density.
    """
    if not model.has_density:
        raise ValueError(
            f"{model.name} has no density, so it cannot score by likelihood. Train a DensityModel "
            "or a HybridModel."
        )
    sets = [typical, inside, *others.values()]
    # Evaluating all sets together traces the graph only once.
    joined = np.concatenate([np.asarray(x, model.compute_dtype) for x in sets])
    nats = negative_log_likelihoods(model, joined, estimator=estimator, seed=seed)[0]
    training, own, *foreign = np.split(nats, np.cumsum([len(x) for x in sets])[:-1])
    is_discrete = model.dequantize is not None
    unit = bits_per_dim(1.0, model.dimension) if is_discrete else 1.0
    entropy = float(training.mean())
    curves = []
    for name, nats in zip(others, foreign):
        scores = {
            "likelihood": (likelihood_score(own), likelihood_score(nats)),
            "typicality": (typicality_score(own, entropy), typicality_score(nats, entropy)),
        }
        curves += [_roc_curve(score, name, *pair) for score, pair in scores.items()]
    return OutlierStudy(
        unit="bits/dim" if is_discrete else "nats",
        entropy=entropy * unit,
        inside=_summary(own, unit),
        others={name: _summary(nats, unit) for name, nats in zip(others, foreign)},
        curves=tuple(curves),
    )


def _summary(nats, unit):
    return Summary(len(nats), float(nats.mean()) * unit, float(nats.std()) * unit)


def _roc_curve(score, against, inside, outside):
    # The package imports without scikit-learn.
    from sklearn.metrics import roc_auc_score, roc_curve

    labels = np.repeat([0, 1], [len(inside), len(outside)])
    scores = np.concatenate([inside, outside])
    false_positives, true_positives, _ = roc_curve(labels, scores)
    auc = float(roc_auc_score(labels, scores))
    return RocCurve(
        score, against, auc, tuple(false_positives.tolist()), tuple(true_positives.tolist())
    )
