"""Measures the likelihood of a table of mixed columns."""

import dataclasses

import numpy as np
from scipy import special

from iresnet_tf.analysis import likelihood as measuring
from iresnet_tf.analysis.results import Result
from iresnet_tf.columns.schema import UNIT, Rows
from iresnet_tf.models import TableModel
from iresnet_tf.numerics import log_det


@dataclasses.dataclass(frozen=True)
class TableLikelihood(Result):
    """The meaning of the likelihood of a table of mixed columns, and a sharper bound on it.

    Attributes:
        unit: the unit of ``nll`` in words.
        densities: columns of which ``nll`` counts a density, in the unit of the column.
        probabilities: columns of which it counts a probability.  The state of a cell of any
            column, missing or at a closed bound, is counted as a probability too.
        constant: columns that contribute nothing.
        sharper: mean over the rows of ``−ln (1/n) Σ_i p_i`` over the ``n`` passes: an upper bound
            on the negative log-likelihood, as ``nll`` is, and closer to it.
    """

    unit: str
    densities: list[str]
    probabilities: list[str]
    constant: list[str]
    sharper: float


def table_likelihood(
    model: TableModel,
    rows: Rows,
    *,
    estimator: log_det.LogDet | None = None,
    passes: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> tuple[measuring.Likelihood, TableLikelihood]:
    """Measures the likelihood of rows in nats; see `iresnet_tf.analysis.likelihood.likelihood`.

    Source: Burda et al. 2016 (arXiv:1509.00519), eq. 8, for the sharper bound.
    """
    estimator = measuring.choose_estimator(model) if estimator is None else estimator
    nats = measuring.negative_log_likelihoods(
        *(model, rows),
        estimator=estimator,
        passes=passes or measuring.PASSES,
        batch_size=batch_size,
        seed=seed,
    )
    sharper = np.log(len(nats)) - special.logsumexp(-nats, axis=0)
    return (
        measuring.summary(model, nats, estimator, is_random=True),
        TableLikelihood(UNIT, **model.schema.parts(), sharper=float(sharper.mean())),
    )
