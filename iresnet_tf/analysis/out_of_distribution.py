"""How well a density tells data that it was not trained on."""

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from iresnet_tf.analysis import plots
from iresnet_tf.analysis.evaluation import negative_log_likelihoods
from iresnet_tf.models import DensityModel, bits_per_dim


def likelihood_score(nats):
    """``−log p(x)``: the less likely, the more of an outlier."""
    return np.asarray(nats)


def typicality_score(nats, entropy):
    """``|−log p(x) − H|``: outside the typical set on either side, too likely included.

    Args:
        nats: ``−log p(x)``, ``[n]``.
        entropy: ``H``, the mean of ``−log p`` over training data.

    Source: Nalisnick et al. 2019 (arXiv:1906.02994), eq. 4, for one example at a time.
    """
    return np.abs(np.asarray(nats) - entropy)


def out_of_distribution(model, typical, inside, others, estimator=None, seed=0):
    """Scores of outliers against the model's own test data, as ROC curves.

    Args:
        model: a built `DensityModel`.
        typical: training data ``[n, …event]``, over which ``H`` is the mean.
        inside: test data of the same kind.
        others: name → data of the same shape that the model was not trained on.
        estimator: of the log-determinant; as for `iresnet_tf.analysis.evaluation.likelihood`.
        seed: of noise and probes.

    Returns:
        `matplotlib.figure.Figure`; dict with ``entropy`` (``H``), ``inside`` and ``others``: of
        each the ``examples`` and the ``mean`` and ``standard_deviation`` of ``−log p``, for
        levels in bits a dimension, else in nats (``unit``); and ``curves``, each with its
        ``score``, what it is ``against``, its ``auc`` (the chance that an outlier scores above
        an example of ``inside``), and ``false_positive_rate`` and ``true_positive_rate``.

    Raises:
        ValueError: for a model without a density.
    """
    if not isinstance(model, DensityModel):
        raise ValueError(f"{model.name} has no density, so it scores nothing by likelihood.")

    sets = [typical, inside, *others.values()]
    # At once: one trace serves them all.
    joined = np.concatenate([np.asarray(x, model.compute_dtype) for x in sets])
    nats = negative_log_likelihoods(model, joined, estimator, seed=seed)[0]
    training, own, *theirs = np.split(nats, np.cumsum([len(x) for x in sets])[:-1])
    discrete = model.dequantize is not None
    unit = bits_per_dim(1.0, model.dimension) if discrete else 1.0
    entropy = float(training.mean())

    def figures(nats):
        mean, deviation = float(nats.mean()) * unit, float(nats.std()) * unit
        return {"examples": len(nats), "mean": mean, "standard_deviation": deviation}

    numbers = {
        "unit": "bits/dim" if discrete else "nats",
        "entropy": entropy * unit,
        "inside": figures(own),
        "others": {},
        "curves": [],
    }
    for name, nats in zip(others, theirs):
        numbers["others"][name] = figures(nats)
        scores = {
            "likelihood": (likelihood_score(own), likelihood_score(nats)),
            "typicality": (typicality_score(own, entropy), typicality_score(nats, entropy)),
        }
        for score, both in scores.items():
            numbers["curves"].append({"score": score, "against": name, **_curve(*both)})
    return plots.roc_curves(numbers["curves"]), numbers


def _curve(inside, outside):
    """The ROC curve of telling ``outside`` by a higher score, and the area under it."""
    labels = np.repeat([0, 1], [len(inside), len(outside)])
    scores = np.concatenate([inside, outside])
    false_positives, true_positives, _ = roc_curve(labels, scores)
    return {
        "auc": float(roc_auc_score(labels, scores)),
        "false_positive_rate": false_positives.tolist(),
        "true_positive_rate": true_positives.tolist(),
    }
