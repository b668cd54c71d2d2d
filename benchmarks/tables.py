"""Compares models of two mixed tables with the laws that the tables were made from.

python benchmarks/tables.py truth     # held-out likelihood, and samples against held-out rows
python benchmarks/tables.py rivals    # the held-out likelihood of mixtures and kernel densities
python benchmarks/tables.py memory    # peak memory of a training on a large Parquet table
"""

import itertools
import pathlib
import tempfile
import time

import click
import keras
import measuring
import numpy as np
import pandas as pd
from scipy import special, stats
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

import iresnet_tf as irn

ROWS, HELD_OUT = 20_000, 5_000
STEPS = 200  # of the training whose memory is measured


def customers(count, seed):
    """Returns a table of groups, incomes, counts and truth values, and its log-likelihoods."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.5, 0.3, 0.2])
    means = np.array([[0.0, 0.0], [1.5, 1.0], [-1.0, 2.0]])
    covariance = [[1.0, 0.6], [0.6, 1.0]]
    group = rng.choice(3, count, p=shares)
    z = rng.multivariate_normal([0.0, 0.0], covariance, count) + means[group]
    rate = np.exp(0.3 + 0.5 * z[:, 1] - 0.3 * (group == 1))
    visits = rng.poisson(rate)
    logit = z[:, 0] - 0.5
    member = rng.random(count) < special.expit(logit)
    income = np.exp(10.0 + 0.5 * z[:, 0])
    log_p = np.log(shares[group])
    log_p += stats.multivariate_normal([0.0, 0.0], covariance).logpdf(z - means[group])
    log_p -= np.log(0.5 * income) + np.log(3.0)
    log_p += stats.poisson(rate).logpmf(visits) + special.log_expit(np.where(member, logit, -logit))
    frame = pd.DataFrame(
        {
            "group": np.array(["a", "b", "c"])[group],
            "income": income,
            "temperature": 15.0 + 3.0 * z[:, 1],
            "visits": visits,
            "member": member,
        }
    )
    return frame, log_p


def parcels(count, seed):
    """Returns a table with ordered sizes, shares, gaps, heavy tails and many zeros; and its law."""
    rng = np.random.default_rng(seed)
    names, shares = ["s", "m", "l", "xl"], np.array([0.15, 0.35, 0.3, 0.2])
    size = rng.choice(4, count, p=shares)
    share = rng.beta(2 + size, 3)
    scale, centre = 1e-9 * (1.0 + share), 2e-9 * size
    shift = centre + scale * rng.standard_t(3, count)
    chance = 0.1 + 0.5 * share
    gap, free = rng.random(count) < chance, rng.random(count) < 0.25
    price = rng.gamma(2.0, 1.0 + size)
    hits = rng.binomial(10, share)
    log_p = np.log(shares[size]) + stats.beta(2 + size, 3).logpdf(share)
    density = stats.t(3).logpdf((shift - centre) / scale) - np.log(scale)
    log_p += np.where(gap, np.log(chance), np.log1p(-chance) + density)
    paid = np.log(0.75) + stats.gamma(2.0, scale=1.0 + size).logpdf(price)
    log_p += np.where(free, np.log(0.25), paid) + stats.binom(10, share).logpmf(hits)
    frame = pd.DataFrame(
        {
            "size": pd.Categorical(np.array(names)[size], categories=names, ordered=True),
            "share": share,
            "shift": np.where(gap, np.nan, shift),
            "cost": np.where(free, 0.0, price),
            "hits": hits.astype("int8"),
        }
    )
    return frame, log_p


LAWS = {"customers": customers, "parcels": parcels}


def fitted(frame, steps, seed=0):
    """Returns the model of the preset ``tabular`` after some steps on all rows."""
    preset = irn.presets.get("tabular").with_length(steps=steps)
    keras.utils.set_random_seed(seed)
    source = irn.data.MixedTableSource(frame, test_fraction=1e-4)
    model = irn.training.assembly.initialized_model(preset, source, seed=seed)
    batches = source.stream(preset.batch_size, seed=seed)
    model.fit(batches, steps_per_epoch=preset.steps, verbose=0)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    irn.layers.refresh(model)
    return model


def likelihoods(names, steps):
    for name in names:
        law = LAWS[name]
        start = time.process_time()
        model = fitted(law(ROWS, 0)[0], steps)
        seconds = time.process_time() - start
        held_out, truth = law(HELD_OUT, 1)
        rows = model.rows(held_out)
        row = {"table": name, "CPU s": round(seconds), "truth": truth.mean()}
        for draws in (1, 16):
            gap = truth - model.log_prob_rows(rows, draws=draws)
            row[f"gap, {draws} draws"] = gap.mean()
        row["error"] = gap.std() / np.sqrt(len(gap))
        yield {**row, **against_held_out(model, law, held_out)}


def against_held_out(model, law, held_out):
    """Compares samples, and other rows of the law, with held-out rows by their marginals.

    The mean ``χ²`` per degree of freedom is 1 for equal laws.  The p-value is the least of all
    pairs of columns, times their number.
    """
    samples, others = model.sample_rows(HELD_OUT, seed=0), law(HELD_OUT, 2)[0]
    found = {}
    for what, frame in (("samples", samples), ("law", others)):
        one, two = distances(frame, held_out)
        found |= {
            f"{what}: one column": np.mean([test.statistic / test.dof for test in one]),
            f"{what}: two columns": np.mean([test.statistic / test.dof for test in two]),
            f"{what}: p of pairs": min(1.0, len(two) * min(test.pvalue for test in two)),
        }
    pd.testing.assert_series_equal(samples.dtypes, held_out.dtypes)
    model.schema.rows(samples)  # It refuses a cell outside of its column's categories and bounds.
    return found


def distances(frame, other):
    """Returns the tests of homogeneity of all columns, and those of all pairs of columns."""
    cells = {name: binned(frame[name], other[name]) for name in other}
    singles = [homogeneity(*pair) for pair in cells.values()]
    pairs = []
    for first, second in itertools.combinations(cells.values(), 2):
        size = 1 + max(first[0].max(), first[1].max())
        pairs.append(homogeneity(*(a + size * b for a, b in zip(first, second))))
    return singles, pairs


def binned(values, other):
    """Returns the indices of bins: labels, or up to eight intervals; a gap is one more."""
    together = pd.concat([values, other], ignore_index=True)
    if pd.api.types.is_numeric_dtype(together) and together.nunique() > 8:
        edges = np.unique(np.nanquantile(other, np.linspace(0.0, 1.0, 9)[1:-1]))
        index = np.where(together.isna(), len(edges) + 1, np.searchsorted(edges, together))
    else:
        index = pd.factorize(together, use_na_sentinel=False)[0]
    return index[: len(values)], index[len(values) :]


def homogeneity(first, second):
    """Returns the ``χ²`` test of two samples; rare cells are left out."""
    counts = np.stack([np.bincount(each, minlength=1 + max(first.max(), second.max()))
                       for each in (first, second)])  # fmt: skip
    counts = counts[:, counts.sum(0) >= 10]
    return stats.chi2_contingency(counts, correction=False)


def rivals(names):
    """Returns how far mixtures and kernel densities stay below the truth on held-out rows."""
    for name in names:
        law = LAWS[name]
        train, (held_out, truth) = law(ROWS, 0)[0], law(HELD_OUT, 1)
        row = {"table": name, "truth": truth.mean()}
        for rival, fit in (("mixture", best_mixture), ("kernels", best_kernels)):
            gap = truth - log_density(train, held_out, fit)
            row |= {f"gap, {rival}": gap.mean(), f"{rival}: error": gap.std() / len(gap) ** 0.5}
        yield row


def log_density(train, held_out, fit):
    """Returns ``log p`` of each held-out row, with one density for each pattern of atoms.

    An atom is a gap, or a zero of the column `cost`.  Its column is left out of the pattern's
    density, and the share of the pattern counts in its place.  Discrete columns are numbers with
    uniform noise, as a flow sees them.
    """
    numbers, atoms = as_numbers(train, 0)
    points, atoms_held_out = as_numbers(held_out, 1)
    found = np.full(len(points), -np.inf)
    for pattern in np.unique(atoms, axis=0):
        of_train, of_points = ((each == pattern).all(1) for each in (atoms, atoms_held_out))
        x, z = numbers[of_train][:, ~pattern], points[of_points][:, ~pattern]
        mean, scale = x.mean(0), x.std(0)
        model = fit((x - mean) / scale)
        values = model.score_samples((z - mean) / scale) - np.log(scale).sum()
        found[of_points] = np.log(of_train.mean()) + values
    return found


def as_numbers(frame, seed):
    """Returns the columns as numbers, and where they have atoms."""
    rng = np.random.default_rng([seed, 1])  # The tables were drawn from the seed alone.
    numbers = {}
    for name, column in frame.items():
        is_real = pd.api.types.is_float_dtype(column)
        codes = (
            column if pd.api.types.is_numeric_dtype(column) else pd.factorize(column, sort=True)[0]
        )
        numbers[name] = np.asarray(codes, float) + (0.0 if is_real else rng.random(len(frame)))
    table = np.stack(list(numbers.values()), 1)
    zero = np.array([name == "cost" for name in numbers]) & (table == 0.0)
    return table, np.isnan(table) | zero


def best_mixture(x):
    """Returns the mixture of 1 to 20 components with the best held-out likelihood."""
    last = len(x) * 4 // 5
    scores = [
        GaussianMixture(count, random_state=0).fit(x[:last]).score(x[last:])
        for count in range(1, 21)
    ]
    return GaussianMixture(1 + int(np.argmax(scores)), random_state=0).fit(x)


def best_kernels(x):
    """Returns the kernel density with the bandwidth of the best held-out likelihood."""
    last = len(x) - min(1000, len(x) // 5)
    widths = np.geomspace(0.03, 1.0, 12)
    scores = [KernelDensity(bandwidth=width).fit(x[:last]).score(x[last:]) for width in widths]
    return KernelDensity(bandwidth=widths[int(np.argmax(scores))]).fit(x)


def memory(rows, columns):
    """Returns the peak memory of a process that opens a Parquet table and trains on it."""
    import pyarrow
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "large.parquet"
        names = [f"c{index}" for index in range(columns)]
        part = rows // 20
        schema = pyarrow.schema([(name, pyarrow.float64()) for name in names])
        with parquet.ParquetWriter(path, schema) as writer:
            for _ in range(20):
                values = [rng.normal(size=part) for _ in names]
                writer.write_table(pyarrow.table(values, schema=schema))
        measuring.reset_peak()
        before, start = measuring.resident_bytes(), time.process_time()
        source = irn.data.MixedTableSource(path)
        opened = time.process_time() - start
        start = time.process_time()
        for _ in source.stream(256, seed=0).take(20):
            pass
        batch = (time.process_time() - start) / 20
        most = measuring.resident_bytes(peak=True)
        preset = irn.presets.get("tabular")
        model = irn.training.assembly.initialized_model(preset, source, seed=0)
        model.fit(source.stream(preset.batch_size, seed=0), steps_per_epoch=STEPS, verbose=0)
        trained = measuring.resident_bytes(peak=True)
    return {
        "rows": rows,
        "columns": columns,
        "float64 copy, GB": rows * columns * 8 / 1e9,
        "peak above the start, GB": (most - before) / 1e9,
        "CPU s to open": opened,
        "CPU ms a batch": 1e3 * batch,
        f"peak above the start with {STEPS} training steps, GB": (trained - before) / 1e9,
    }


@click.group()
def main():
    """Measures models of mixed tables."""


out = click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")


@main.command()
@click.argument("names", nargs=-1, type=click.Choice(list(LAWS)))
@click.option("--steps", default=2000, help="Training steps.")
@out
def truth(names, steps, out):
    """Prints the distance of held-out likelihoods from those of the laws, and of marginals."""
    measuring.show(list(likelihoods(names or LAWS, steps)), out)


@main.command(name="rivals")
@click.argument("names", nargs=-1, type=click.Choice(list(LAWS)))
@out
def others(names, out):
    """Prints the distance of mixtures and kernel densities from the laws."""
    measuring.show(list(rivals(names or LAWS)), out)


@main.command(name="memory")
@click.option("--rows", default=1_000_000)
@click.option("--columns", default=20)
@out
def peak(rows, columns, out):
    """Prints the peak memory of a training on a large table."""
    measuring.show([memory(rows, columns)], out)


if __name__ == "__main__":
    main()
