"""Estimates the log-probabilities of the classes of single examples."""

import math

import numpy as np
import scipy.special

from iresnet_tf.analysis.likelihood import PASSES
from iresnet_tf.models.classifying import ClassifyingModel
from iresnet_tf.numerics import random


def class_log_probs(
    model: ClassifyingModel,
    x: np.ndarray,
    *,
    passes: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> np.ndarray:
    """Estimates ``log p(y | x)``, where ``p(y | x) = E_u p(y | x + u)``, by a mean over draws.

    Discrete data get the noise ``u`` with which the model was trained: without it, every example
    would lie at the corner of its cell.  Continuous data have ``u = 0``.

    Args:
        model: a built `Classifier` or `HybridModel`.
        x: examples ``[n, …event]``; levels if the model dequantises.
        passes: number of draws; by default 5, or 1 for continuous data.
        batch_size: number of examples classified at once.
        seed: seed of the noise.

    Returns:
        Array ``[n, classes]``, float64, nats.

    Raises:
        ValueError: for a model without classes.
    """
    if model.classes is None:
        raise ValueError(
            f"{model.name} has no classes. Train a Classifier or a HybridModel, or take log_probs."
        )
    passes = passes or default_passes(model)
    total = np.asarray(-math.inf)
    for draw in range(passes):
        points = model.dequantized(x, random.fold_in(random.as_seed(seed), draw))
        outputs = model.predict(points, batch_size=batch_size, verbose=0)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        log_probs = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=1)
        total = np.logaddexp(total, log_probs)
    return total - math.log(passes)


def default_passes(model: ClassifyingModel) -> int:
    """Returns the number of draws of the noise: 5, or 1 for continuous data."""
    return 1 if model.dequantize is None else PASSES
