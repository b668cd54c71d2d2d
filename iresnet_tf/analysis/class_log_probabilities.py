"""Computes the log-probabilities of the classes of single examples."""

import math

import numpy as np
import scipy.special

from iresnet_tf.models.classifying import ClassifyingModel
from iresnet_tf.numerics import random


def class_log_probs(
    model: ClassifyingModel,
    x: np.ndarray,
    *,
    passes: int = 0,
    batch_size: int = 128,
    seed: int = 0,
) -> np.ndarray:
    """``log p(y | x + 1/2)``, or an estimate of ``log E_u p(y | x + u)`` from draws of the noise.

    A model of discrete data is trained on levels plus noise ``u``, uniform on ``[0, 1)``.  At the
    level itself every example would lie at the corner of its cell.  The centre has no noise, which
    could hide a class, and takes one forward pass.  Continuous data are classified as they are.

    Args:
        model: a built `Classifier` or `HybridModel`.
        x: examples ``[n, …event]``; levels if the model dequantises.
        passes: number of draws of ``u``, whose probabilities are averaged; 0 for the centre.
        batch_size: number of examples classified at once.
        seed: seed of the noise.

    Returns:
        Array ``[n, classes]``, float64, nats.

    Raises:
        ValueError: for a model without classes, or a negative number of passes.
    """
    if model.classes is None:
        raise ValueError(
            f"{model.name} has no classes. Train a Classifier or a HybridModel, or take log_probs."
        )
    if passes < 0:
        raise ValueError(f"passes is a number of draws, or 0 for the centre; received {passes}.")
    if passes == 0 or model.dequantize is None:
        return _log_probs(model, model.centred(x), batch_size)
    total = np.asarray(-math.inf)
    for draw in range(passes):
        points = model.dequantized(x, random.fold_in(random.as_seed(seed), draw))
        total = np.logaddexp(total, _log_probs(model, points, batch_size))
    return total - math.log(passes)


def _log_probs(model, points, batch_size):
    outputs = model.predict(points, batch_size=batch_size, verbose=0)
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs
    return scipy.special.log_softmax(np.asarray(logits, np.float64), axis=1)
