"""Evaluates a trained model: likelihood, accuracy, reconstruction, Lipschitz constants."""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from iresnet_tf.analysis.class_log_probabilities import class_log_probs
from iresnet_tf.analysis.likelihood import Likelihood, likelihood
from iresnet_tf.analysis.results import Result
from iresnet_tf.analysis.table_likelihood import TableLikelihood, table_likelihood
from iresnet_tf.columns.schema import Rows
from iresnet_tf.layers import refresh, vouched_blocks
from iresnet_tf.models import FlowModel
from iresnet_tf.models.classifying import ClassifyingModel
from iresnet_tf.numerics import log_det


@dataclasses.dataclass(frozen=True)
class Classification(Result):
    """The details of an accuracy.

    Attributes:
        standard_error: binomial standard error of the accuracy.
        cross_entropy: mean of ``−log p(y | x)`` of the true classes, nats.
        examples: number of examples.
        passes: number of draws of the noise, 0 if each example was classified at the centre of
            its cell; see `class_log_probs`.  Results of older versions lack the number; they had
            one draw.
    """

    standard_error: float
    cross_entropy: float
    examples: int
    passes: int = 1


@dataclasses.dataclass(frozen=True)
class Reconstruction(Result):
    """The error of the inverse on a batch, in the units of the data (levels for images).

    Attributes:
        max_abs_error: ``max |F⁻¹(F(x)) − x|``; not finite if the inverse diverged.
        iterations: evaluations of ``g`` in all blocks, for the sample that needs most.
        converged: whether every block met its tolerance for every sample.
        error_bound: largest bound, over the samples, on the 2-norm of the error of the inverse at
            the computed latent point, carried through every layer; infinite if not certified.
        vouched: whether the bound rests on a constant that somebody gave.
    """

    max_abs_error: float
    iterations: int
    converged: bool
    error_bound: float
    vouched: bool


@dataclasses.dataclass(frozen=True)
class LipschitzConstants(Result):
    """The bounds on ``Lip(g)`` of the blocks, infinite for a block without a bound.

    Attributes:
        certified_max: largest bound; infinite if a block is in ``vouched``.
        vouched: names of the blocks whose bound rests on a constant that somebody gave.
    """

    certified_max: float
    per_block: dict[str, float]
    vouched: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(Result):
    """The measurements of a model on test data; ``None`` for those that do not apply to it.

    Attributes:
        bits_per_dim: negative log-likelihood of discrete data, bits/dim.
        nll: negative log-likelihood of continuous data, or an upper bound for a table, nats.
        table: for a table of mixed columns, what its likelihood means.
        accuracy: fraction of the examples that are classified correctly.
        classification: standard error of the accuracy, and cross-entropy.
        reconstruction: error of the inverse on the first batch.
        lipschitz: certified Lipschitz constants of the blocks.
    """

    bits_per_dim: Likelihood | None = None
    nll: Likelihood | None = None
    table: TableLikelihood | None = None
    accuracy: float | None = None
    classification: Classification | None = None
    reconstruction: Reconstruction
    lipschitz: LipschitzConstants

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON, without the measurements that do not apply."""
        return {name: value for name, value in super().as_dict().items() if value is not None}


def evaluate(
    model: FlowModel,
    x: np.ndarray | Rows,
    y: np.ndarray | None = None,
    *,
    estimator: log_det.LogDet | None = None,
    passes: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> Evaluation:
    """Evaluates a model on test data.

    Args:
        model: a built model of `iresnet_tf.models`.  Its spectral vectors are refined first, if
            they are stale; nothing else of it changes, so other threads may use it meanwhile.
        x: test data ``[n, …event]``; levels if the data are discrete; for a `TableModel`, its
            ``rows(table)``.
        y: classes ``[n]``, for a model that classifies; contexts ``[n, …context_shape]``, for a
            model that takes them.
        estimator, passes: of the likelihood; see `iresnet_tf.analysis.likelihood.likelihood`.
        batch_size: number of examples evaluated at once.
        seed: seed of noise and probes.

    Raises:
        ValueError: if a model that classifies gets no classes, or one that takes a context no
            contexts.
    """
    if model.takes_context and y is None:
        raise ValueError(
            f"{model.name} depends on a context, so its evaluation needs the contexts of the "
            "examples: evaluate(model, x, contexts)."
        )
    context = y if model.takes_context else None
    refresh(model)
    bounds, vouched = model.lipschitz_bounds(), tuple(vouched_blocks(model.flow))
    certified = math.inf if vouched else max(bounds.values(), default=0.0)
    measured: dict[str, Any] = {}
    options: dict[str, Any] = {"estimator": estimator, "passes": passes, "seed": seed}
    if isinstance(x, Rows):
        measured["nll"], measured["table"] = table_likelihood(
            model, x, batch_size=batch_size, **options
        )
        x = x[:batch_size].points(seed).x
    elif model.has_density:
        unit = "nll" if model.dequantize is None else "bits_per_dim"
        measured[unit] = likelihood(model, x, batch_size=batch_size, context=context, **options)
    if model.classes is not None:
        measured["accuracy"], measured["classification"] = classification(
            model, x, y, batch_size=batch_size, seed=seed
        )
    return Evaluation(
        **measured,
        reconstruction=reconstruction(
            model,
            x[:batch_size],
            seed=seed,
            context=None if context is None else context[:batch_size],
        ),
        lipschitz=LipschitzConstants(certified, bounds, vouched),
    )


def classification(
    model: ClassifyingModel,
    x: np.ndarray,
    y: np.ndarray | None,
    *,
    passes: int = 0,
    batch_size: int = 128,
    seed: int = 0,
) -> tuple[float, Classification]:
    """Measures the accuracy on test data and its details, by `class_log_probs`.

    Raises:
        ValueError: if there are no classes ``y``.
    """
    if y is None:
        raise ValueError(
            f"{model.name} classifies, so its evaluation needs the classes of the examples: "
            "evaluate(model, x, y)."
        )
    log_p = class_log_probs(model, x, passes=passes, batch_size=batch_size, seed=seed)
    accuracy = float(np.mean(log_p.argmax(1) == y))
    return accuracy, Classification(
        standard_error=math.sqrt(accuracy * (1.0 - accuracy) / len(y)),
        cross_entropy=float(-log_p[np.arange(len(y)), y].mean()),
        examples=len(y),
        passes=1 if model.dequantize is None else passes,
    )


def reconstruction(
    model: FlowModel, x: np.ndarray, *, seed: int = 0, context: np.ndarray | None = None
) -> Reconstruction:
    """Measures ``max |F⁻¹(F(x)) − x|`` over data ``[n, …event]`` (levels, if discrete).

    The seed decides the dequantisation noise.  A model that takes a context needs those of the
    data, ``[n, …context_shape]``.
    """
    x = model.dequantized(x, seed)
    inverse = model.flow.inverse(model.encode(x, context=context), context=context)
    return Reconstruction(
        max_abs_error=float(tf.reduce_max(tf.abs(inverse.x - x))),
        iterations=int(tf.reduce_max(inverse.iterations)),
        converged=bool(tf.reduce_all(inverse.converged)),
        error_bound=float(tf.reduce_max(inverse.error_bound)),
        vouched=bool(vouched_blocks(model.flow)),
    )
