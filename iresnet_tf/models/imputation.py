"""Samples the missing cells of rows by Metropolis steps."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import special

CORRELATIONS = (0.95, 0.8, 0.0)
"""The correlations of proposals with the state, in turn: small, larger and independent steps."""


@dataclasses.dataclass(frozen=True)
class Imputation:
    """A table without missing cells, and how well its chains moved.

    Attributes:
        frame: DataFrame with the dtypes of the table.
        acceptance: share of the steps that each row accepted, ``[rows]``; NaN for a row without
            missing cells.  Where it is below about 0.05, a chain may not have left its start.
        potential_scale_reduction: largest ``R̂`` of the coordinates of the missing cells of each
            row, of the second halves of two chains, ``[rows]``; near 1 where the chains have
            forgotten their starts, and NaN without missing cells.
    """

    frame: Any
    acceptance: np.ndarray
    potential_scale_reduction: np.ndarray


def imputed(model: Any, rows: Any, *, steps: int, seed: int, batch_size: int = 2048) -> Imputation:
    """Draws the missing cells of rows; see `TableModel.impute`.

    The target of a row is the density ``p(y)`` of the model on the coordinates that stand for its
    present cells, and for any value of its missing ones.  A coordinate that is free on an interval
    is written as ``y = Φ⁻¹(a + (b − a) Φ(w))``.  The proposal ``w' = ρ w + √(1 − ρ²) ε`` leaves the
    normal law of ``w`` invariant, so a step is accepted with the probability
    ``min(1, r(y')/r(y))``, with ``r(y) = p(y) / Π φ(y_i)`` over the free coordinates.

    Source: Cotter et al. 2013 (arXiv:1202.0709), "MCMC methods for functions", §4.2.
    """
    incomplete = np.flatnonzero(_missing(model.schema, rows))
    x = rows.points([seed, 0]).x
    acceptance, reduction = np.full((2, len(rows)), np.nan)
    for start in range(0, len(incomplete), batch_size):
        chosen = incomplete[start : start + batch_size]
        part = rows[chosen]
        rng = np.random.default_rng([seed, 1, start])
        x[chosen], acceptance[chosen], reduction[chosen] = _chains(
            model, part, x[chosen], steps, rng
        )
    return Imputation(model.schema.frame(x), acceptance, reduction)


def _missing(schema, rows):
    """Returns which rows lack a cell."""
    found = np.zeros(len(rows), bool)
    for column, cells in zip(schema.columns, rows.cells):
        found |= column.missing(cells)
    return found


def _chains(model, rows, x, steps, rng):
    """Runs two chains for each row; returns the end of one, its acceptance, and all ``R̂``."""
    schema, log_prob = model.schema, model.log_prob_function()
    probes = tf.constant([0, 7], tf.int32)
    boxes = [column.boxes(cells) for column, cells in zip(schema.columns, rows.cells)]
    full = [tuple(np.broadcast_to(end, (len(rows), end.shape[1])) for end in box) for box in boxes]
    low, high = (np.concatenate([box[side] for box in full], 1) for side in (0, 1))
    low, high, fixed = (np.concatenate([each, each]) for each in (low, high, x))
    is_free = low < high
    whole, a = special.ndtr(high) - special.ndtr(low), special.ndtr(low)
    # From the nearer end, so that intervals far above 0 keep their digits.
    upper, above = low > 0.0, special.ndtr(-high)

    def coordinates(w):
        share = special.ndtr(w)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = special.ndtri(a + whole * share)
            right = -special.ndtri(above + (special.ndtr(-low) - above) * special.ndtr(-w))
        y = np.where(upper, right, left)
        unbounded = np.isinf(low) & np.isinf(high)
        return np.where(is_free, np.where(unbounded, w, y), fixed)

    def ratio(y):
        # All steps take the same probes, if the log-determinant is estimated.
        return log_prob(y, probes) + 0.5 * np.sum(np.where(is_free, y, 0.0) ** 2, 1)

    w = rng.standard_normal(low.shape)
    y = coordinates(w)
    now, accepted = ratio(y), np.zeros(len(w))
    half, sums = steps // 2, np.zeros((2, *w.shape))
    for step in range(steps):
        rho = CORRELATIONS[step % len(CORRELATIONS)]
        proposal = rho * w + np.sqrt(1.0 - rho**2) * rng.standard_normal(w.shape)
        there = coordinates(proposal)
        ratios = ratio(there)
        moves = np.log(rng.random(len(w))) < ratios - now
        w[moves], y[moves], now[moves] = proposal[moves], there[moves], ratios[moves]
        accepted += moves
        if step >= half:
            sums += np.stack([w, w**2])
    mean, square = sums / max(1, steps - half)
    count = len(rows)
    within = np.mean([square[:count] - mean[:count] ** 2, square[count:] - mean[count:] ** 2], 0)
    between = 0.5 * (mean[:count] - mean[count:]) ** 2
    gone = _missing_coordinates(schema, rows)
    reduction = np.sqrt((within + between) / np.maximum(within, 1e-12))
    return y[:count], accepted[:count] / steps, np.max(np.where(gone, reduction, 1.0), 1)


def _missing_coordinates(schema, rows):
    """Returns which coordinates belong to missing cells, bool ``[rows, width]``."""
    parts = [
        np.repeat(np.broadcast_to(column.missing(cells), len(rows))[:, None],
                  len(column.coordinates), 1)
        for column, cells in zip(schema.columns, rows.cells)
    ]  # fmt: skip
    return np.concatenate(parts, 1)
