"""Compares densities of the tables of scikit-learn on held-out rows.

    python benchmarks/estimators.py likelihood --out FILE
    python benchmarks/estimators.py time

``likelihood`` fits `ResidualFlowDensity`, `GaussianMixture` and `KernelDensity` to four fifths
of the rows, and takes the mean log-density of the other fifth, for each of five parts.  The number
of components, 1 to 20, and the bandwidth are those of the highest held-out likelihood within the
training rows; the chosen model is then fitted to all of them.  Both see standardised columns, and
the likelihood is that of the columns' own units.  ``difference`` is the mean difference from the
better of the two over the rows, with its standard error.

``time`` prints the seconds, and those of the processor, from the start of the process until the
569 × 30 table is fitted, scored and sampled.
"""

import time
import warnings

import click
import measuring
import numpy as np
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.neighbors import KernelDensity

import iresnet_tf as irn

TABLES = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}


def mixture(x):
    """Returns the mixture whose number of components has the best held-out likelihood."""
    train, held_out = train_test_split(x, test_size=0.2, random_state=0)
    scores = [
        GaussianMixture(count, random_state=0).fit(train).score(held_out) for count in range(1, 21)
    ]
    return GaussianMixture(1 + int(np.argmax(scores)), random_state=0).fit(x)


def kernel(x):
    """Returns the kernel density with the bandwidth of the best held-out likelihood."""
    bandwidths = {"bandwidth": np.geomspace(0.03, 2.0, 25)}
    return GridSearchCV(KernelDensity(), bandwidths, cv=5).fit(x).best_estimator_


def log_densities(x, seed):
    """Returns the held-out log-densities of each method, and the flow's seconds of fitting."""
    found, seconds = {"flow": [], "mixture": [], "kernel": []}, []
    for train, test in KFold(5, shuffle=True, random_state=0).split(x):
        start = time.perf_counter()
        flow = irn.sklearn.ResidualFlowDensity(random_state=seed).fit(x[train])
        seconds.append(time.perf_counter() - start)
        found["flow"].append(flow.score_samples(x[test]))
        mean, stddev = x[train].mean(0), x[train].std(0)
        for name, fit in (("mixture", mixture), ("kernel", kernel)):
            model = fit((x[train] - mean) / stddev)
            log_density = model.score_samples((x[test] - mean) / stddev)
            found[name].append(log_density - np.log(stddev).sum())
    return {name: np.concatenate(parts) for name, parts in found.items()}, float(np.mean(seconds))


def with_error(values):
    return f"{values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}"


@click.group()
def main():
    """Measures the estimators of `iresnet_tf.sklearn`."""
    warnings.simplefilter("ignore", ConvergenceWarning)


@main.command()
@click.option("--table", "names", multiple=True, type=click.Choice(list(TABLES)))
@click.option("--seed", default=0)
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def likelihood(names, seed, out):
    """Prints the held-out log-densities, nats a row."""
    rows = []
    for name in names or TABLES:
        x = TABLES[name]().data
        found, seconds = log_densities(x, seed)
        best = max(found["mixture"], found["kernel"], key=np.mean)
        row = {"table": name, "rows": f"{x.shape[0]} × {x.shape[1]}"}
        row |= {method: with_error(values) for method, values in found.items()}
        row |= {"difference": with_error(found["flow"] - best), "s a fit": round(seconds, 1)}
        rows.append(row)
        print(row, flush=True)
    measuring.show(rows, out)


@main.command("time")
def seconds():
    """Prints the seconds from the start of the process to the end of each stage."""
    rows = []

    def note(stage):
        wall = measuring.seconds_since_start()
        rows.append({"until": stage, "s": round(wall, 1), "CPU s": round(time.process_time(), 1)})

    x = datasets.load_breast_cancer().data
    note("imported")
    flow = irn.sklearn.ResidualFlowDensity(random_state=0).fit(x)
    note("fitted")
    flow.score(x)
    note("scored")
    flow.sample(1000, random_state=0)
    note("sampled")
    measuring.show(rows)


if __name__ == "__main__":
    main()
