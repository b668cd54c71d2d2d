"""Computes variance × cost of the laws of Russian roulette at trained blocks.

    python benchmarks/roulette.py laws digits-density RUN … --out FILE

A sum of terms ``t₁ + t₂ + …`` with survival probabilities ``s_k = P(k-th term is taken)``
has the second moment, over the random length,

    E[T²] = Σ_k M_kk / s_k + 2 Σ_{i<j} M_ij / s_i,   M_ij = E[t_i t_j],

so only the probes are drawn, and every law gets the same ones. One length serves a whole batch, so
its noise does not average out over the ``B`` samples as that of the probes does:

- value: ``t_k`` is the batch mean of ``(−1)^{k+1}/k vᵀJᵏv``, so
  ``M = E t E tᵀ + Cov(t) / B``;
- gradient, ``tr(A ∇J)`` with ``A = Σ (−J)^{k−1}``: ``M_ij = tr(J^{i−1} (J^{j−1})ᵀ)`` with its
  sign, for the noise in ``A`` in the Frobenius norm; the probes add
  ``(D − 1) ‖A‖² / B``.

The cost is that of a step, in evaluations of ``g``: the expected number of terms plus five
(see `workloads.floor_flops`). Blocks draw independently, so their variances add up.
"""

import json
import math
import pathlib

import click
import measuring
import numpy as np

TERMS, PROBES = 80, 8
"""Number of terms of the series that are computed, and of probes for each sample."""

EXPONENTS = (2.0 / 3.0, 1.0, 4.0 / 3.0, 5.0 / 3.0)
FIXED = (0.3, 0.5, 0.7, 0.9)
EXACT_TERMS = (0, 1, 2, 3, 4, 6, 8, 10)


def laws():
    """Returns, by name, functions of ``L``: survival ``[TERMS]`` and expected number of terms."""
    table = {}
    for m in EXACT_TERMS:
        for a in EXPONENTS:
            table[f"q = L^{a:.3g}, m = {m}"] = lambda L, a=a, m=m: _geometric(L**a, m)
        for q in FIXED:
            table[f"q = {q}, m = {m}"] = lambda L, q=q, m=m: _geometric(q, m)
        table[f"Poisson(2), m = {m}"] = lambda L, m=m: _poisson(2.0, m)
    return table


def _geometric(q, m):
    extra = np.maximum(np.arange(1, TERMS + 1) - m, 1)
    return q ** (extra - 1.0), m + 1.0 / (1.0 - q)


def _poisson(mean, m):
    import scipy.stats

    return scipy.stats.poisson.sf(np.arange(1, TERMS + 1) - m - 1, mean), m + mean


def moments(block, x, batch):
    """Returns ``M`` and the variance of the probes, for the value and for the gradient."""
    import tensorflow as tf

    from iresnet_tf.layers.contractive import as_contractive

    linearization = as_contractive(block.g).bind().linearize(x)
    shape = (PROBES, *x.shape)
    power = tf.constant(np.random.default_rng(0).choice([-1.0, 1.0], shape), x.dtype)
    v = power.numpy().reshape(PROBES * len(x), -1).astype(np.float64)
    powers, values = [], []
    vjp = tf.function(linearization.vjp, autograph=False)
    for k in range(1, TERMS + 1):
        powers.append(power.numpy().reshape(v.shape))
        power = -vjp(power)
        values.append(-np.sum(power.numpy().reshape(v.shape) * v, 1) / k)
    values, powers = np.array(values), np.array(powers, np.float64)
    noise = values - values.reshape(TERMS, PROBES, -1).mean(1, keepdims=True).repeat(
        PROBES, 1
    ).reshape(values.shape)
    covariance = noise @ noise.T / (noise.shape[1] * (1.0 - 1.0 / PROBES))
    mean = values.mean(1)
    value = np.outer(mean, mean) + covariance / batch
    gradient = np.einsum("ibd,jbd->ij", powers, powers) / len(v)
    dimension = v.shape[1]
    return {
        "value": (value, covariance.sum() / batch),
        "gradient": (gradient, (dimension - 1) * gradient.sum() / batch),
    }


def length_variance(second_moments, survival):
    """Returns the variance of the weighted sum from its random length, ``inf`` if it diverges.

    The last computed terms show whether the rest matters: a sum that still grows there by a
    hundredth counts as infinite.
    """
    upper = np.triu(second_moments, 1).sum(1)
    with np.errstate(divide="ignore"):
        terms = (np.diag(second_moments) + 2.0 * upper) / survival
    diagonal = np.diag(second_moments) / survival
    if not np.isfinite(terms).all() or diagonal[-4:].sum() > 0.01 * diagonal.sum():
        return math.inf
    return terms.sum() - second_moments.sum()


@click.group()
def main():
    """Measures the laws of the roulette."""


@main.command(name="laws")
@click.argument("sources", nargs=-1, required=True)
@click.option("--batch-size", default=64, help="Samples in a batch, B.")
@click.option("--samples", default=16, help="Points of data space at which the blocks are taken.")
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def compare(sources, batch_size, samples, out):
    """Prints variance × cost at the models SOURCES, relative to q = L with two exact terms."""
    rows = [
        row
        for source in sources
        for row in measuring.in_fresh_process(__file__, "one", source, batch_size, samples)
    ]
    measuring.show(rows, out)


@main.command(hidden=True)
@click.argument("source")
@click.argument("batch_size", type=int)
@click.argument("samples", type=int)
def one(source, batch_size, samples):
    """Returns the rows of one model: the laws that are shown, and the best of all laws."""
    import iresnet_tf as irn
    from iresnet_tf.analysis.block_inputs import block_inputs

    model = irn.load(source)
    x = model.decode(model.prior.sample(samples, temperature=1.0, seed=[0, 0]))
    blocks = [
        (block.g.lipschitz_target(), moments(block, inputs, batch_size))
        for block, inputs in block_inputs(model.flow, x)
    ]
    products = {}
    for name, law in laws().items():
        cost = sum(5.0 + law(lipschitz)[1] for lipschitz, _ in blocks)
        products[name] = {
            kind: cost
            * sum(
                length_variance(each[kind][0], law(lipschitz)[0]) + each[kind][1]
                for lipschitz, each in blocks
            )
            for kind in ("value", "gradient")
        }
    shown = ["q = L^1, m = 2", "q = L^1, m = 3", "q = L^1.33, m = 2", "q = L^1.33, m = 3"]
    shown += ["q = L^1.67, m = 3", "q = 0.5, m = 2", "Poisson(2), m = 2", "Poisson(2), m = 10"]
    best = {k: min(products, key=lambda name: products[name][k]) for k in ("value", "gradient")}
    reference = products["q = L^1, m = 2"]
    rows = []
    for name in dict.fromkeys([*shown, *best.values()]):
        row = {"model": pathlib.Path(source).name, "L": max(each[0] for each in blocks)}
        row["law"] = name
        for kind in ("value", "gradient"):
            row[f"{kind}: variance × cost"] = products[name][kind] / reference[kind]
        row["best of"] = ", ".join(kind for kind in best if best[kind] == name)
        rows.append(row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
