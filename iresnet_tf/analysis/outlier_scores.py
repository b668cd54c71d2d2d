"""Scores of a density for data that it was not trained on."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from iresnet_tf.analysis.evaluation import negative_log_likelihoods
from iresnet_tf.analysis.study import Study
from iresnet_tf.models import DensityModel, bits_per_dim
from iresnet_tf.numerics.log_det import LogDet


@dataclasses.dataclass(frozen=True)
class LikelihoodSummary:
    """Number of examples, and mean and standard deviation of their ``−log p``."""

    examples: int
    mean: float
    standard_deviation: float


@dataclasses.dataclass(frozen=True)
class RocCurve:
    """The ROC curve of telling a set of outliers from the model's own test data by a score.

    Attributes:
        score: ``"likelihood"`` or ``"typicality"``.
        against: name of the set of outliers.
        auc: area under the curve, the probability that an outlier scores above test data.
        false_positive_rate: fractions of the test data that are flagged.
        true_positive_rate: fractions of the outliers that are flagged.
    """

    score: str
    against: str
    auc: float
    false_positive_rate: list[float]
    true_positive_rate: list[float]


@dataclasses.dataclass(frozen=True)
class OutOfDistribution(Study):
    """Scores of outliers against the model's own test data.

    Attributes:
        unit: unit of ``entropy`` and of the summaries: ``"bits/dim"`` for discrete data, else
            ``"nats"``.
        entropy: ``H``, the mean of ``−log p`` over training data.
        inside: summary of the test data.
        others: name → summary of each set of outliers.
        curves: the ROC curves.
    """

    unit: str
    entropy: float
    inside: LikelihoodSummary
    others: dict[str, LikelihoodSummary]
    curves: list[RocCurve]


def likelihood_score(nats: np.ndarray) -> np.ndarray:
    """Returns ``−log p(x)``: the less likely, the more of an outlier."""
    return np.asarray(nats)


def typicality_score(nats: np.ndarray, entropy: float) -> np.ndarray:
    """Returns ``|−log p(x) − H|``, which is large outside the typical set on either side.

    Args:
        nats: ``−log p(x)``, ``[n]``.
        entropy: ``H``, the mean of ``−log p`` over training data.

    Source: Nalisnick et al. 2019 (arXiv:1906.02994), eq. 4, for one example at a time.
    """
    return np.abs(np.asarray(nats) - entropy)


def out_of_distribution(
    model: DensityModel,
    typical: np.ndarray,
    inside: np.ndarray,
    others: Mapping[str, np.ndarray],
    *,
    estimator: LogDet | None = None,
    seed: int = 0,
) -> OutOfDistribution:
    """Scores outliers against the model's own test data.

    Args:
        model: a built model with a density.
        typical: training data ``[n, …event]``, over which ``H`` is the mean.
        inside: test data of the same kind.
        others: name → data of the same shape that the model was not trained on.
        estimator: estimator of the log-determinant; see `likelihood`.
        seed: seed of noise and probes.

    Raises:
        ValueError: for a model without a density.
    """
    if not model.has_density:
        raise ValueError(f"{model.name} has no density, so it scores nothing by likelihood.")
    sets = [typical, inside, *others.values()]
    # Joined, so that the model is traced once.
    joined = np.concatenate([np.asarray(x, model.compute_dtype) for x in sets])
    nats = negative_log_likelihoods(model, joined, estimator=estimator, seed=seed)[0]
    training, test, *outliers = np.split(nats, np.cumsum([len(x) for x in sets])[:-1])
    is_discrete = model.dequantize is not None
    unit = bits_per_dim(1.0, model.dimension) if is_discrete else 1.0
    entropy = float(training.mean())

    def summary(nats):
        return LikelihoodSummary(len(nats), float(nats.mean()) * unit, float(nats.std()) * unit)

    curves = []
    for name, values in zip(others, outliers):
        scores = {
            "likelihood": (likelihood_score(test), likelihood_score(values)),
            "typicality": (typicality_score(test, entropy), typicality_score(values, entropy)),
        }
        curves += [_curve(score, name, *pair) for score, pair in scores.items()]
    return OutOfDistribution(
        unit="bits/dim" if is_discrete else "nats",
        entropy=entropy * unit,
        inside=summary(test),
        others={name: summary(values) for name, values in zip(others, outliers)},
        curves=curves,
    )


def _curve(score, against, inside, outside):
    """Returns the ROC curve of telling ``outside`` by a higher score."""
    labels = np.repeat([0, 1], [len(inside), len(outside)])
    scores = np.concatenate([inside, outside])
    false_positives, true_positives, _ = roc_curve(labels, scores)
    area = float(roc_auc_score(labels, scores))
    return RocCurve(score, against, area, false_positives.tolist(), true_positives.tolist())
