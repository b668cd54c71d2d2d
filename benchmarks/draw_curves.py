"""Draws curves of `curve.py`, and prints the CPU-seconds to a likelihood.

    python benchmarks/draw_curves.py --out benchmarks/curves.png

The folder ``curves`` holds files ``DATA_FORM_SEED.json``.  Each DATA is a panel, in which the
seeds of a FORM, ``old`` or ``present``, share a colour.  The time at which a curve reaches a
likelihood is interpolated between two evaluations.
"""

import json
import pathlib

import click
import matplotlib.pyplot as plt
import measuring
import numpy as np

FOLDER = pathlib.Path(__file__).parent / "curves"
TITLES = {
    "digits": "digits",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "roulette": "MNIST, c = 0.98: roulette and Krylov",
}
TARGETS = {"digits": (2.31, 2.11), "mnist": (1.273,), "cifar10": (4.217,)}
"""Likelihoods in bits/dim; without one, the last value of the present form."""


def read(file):
    """Returns CPU-seconds and bits/dim, in the order of training."""
    rows = json.loads(file.read_text())["rows"]
    return [np.array([row[key] for row in rows]) for key in ("CPU s", "bits/dim")]


def seconds_to(target, seconds, values):
    """Returns the CPU-seconds at which a curve first reaches a likelihood, or NaN."""
    reached = np.flatnonzero(values <= target)
    if not len(reached) or not reached[0]:
        return float("nan")
    after, before = reached[0], reached[0] - 1
    share = (values[before] - target) / (values[before] - values[after])
    return seconds[before] + share * (seconds[after] - seconds[before])


def compared(data):
    """Returns a row for each seed and likelihood."""
    rows = []
    for file in sorted(FOLDER.glob(f"{data}_present_*.json")):
        seed = file.stem.rpartition("_")[2]
        present, old = read(file), read(FOLDER / f"{data}_old_{seed}.json")
        for target in TARGETS.get(data, present[1][-1:]):
            taken = [seconds_to(target, *each) for each in (old, present)]
            row = {"data": data, "seed": seed, "bits/dim": float(target)}
            row |= {"old, CPU s": taken[0], "present, CPU s": taken[1]}
            rows.append({**row, "ratio": taken[1] / taken[0]})
    return rows


@click.command()
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="PNG file.")
def main(out):
    """Draws a panel for each set of data."""
    size = (4.5 * len(TITLES), 3.5)
    figure, axes = plt.subplots(1, len(TITLES), figsize=size, squeeze=False, layout="constrained")
    for axis, (data, title) in zip(axes[0], TITLES.items(), strict=True):
        for colour, form in enumerate(("old", "present")):
            for index, file in enumerate(sorted(FOLDER.glob(f"{data}_{form}_*.json"))):
                axis.plot(*read(file), f"C{colour}.-", label="" if index else form, lw=1)
        axis.set(title=title, xlabel="CPU-seconds of training", ylabel="test bits/dim")
        axis.set_xlim(left=0.0)
        axis.legend()
    figure.savefig(out, dpi=110)
    measuring.show([row for data in TITLES for row in compared(data)])


if __name__ == "__main__":
    main()
