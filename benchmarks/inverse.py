"""Measures the inverse: evaluations of g that each solver takes, and samples per second.

    python benchmarks/inverse.py evaluations digits-density RUN … --out FILE
    python benchmarks/inverse.py sampling    digits-density RUN … --count 64
    python benchmarks/inverse.py tolerance   digits-density RUN …
    python benchmarks/inverse.py paths       digits-density RUN … --count 8

A SOURCE is a trained run, file or pretrained name, or a name of `workloads.WORKLOADS` for
untrained weights. Points are samples of the prior. ``evaluations`` inverts every block separately,
at the points that sampling gives it, and counts evaluations until each sample has stopped.
"""

import collections
import json
import pathlib
import time

import click
import measuring
import numpy as np

_sources = click.argument("sources", nargs=-1, required=True)
_count = click.option("--count", default=16, help="Samples.")
_tolerance = click.option("--tolerance", default=1e-5, help="On max |x + g(x) − y|.")
_out = click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")

CLASSES = ((0, 15), (15, 40), (40, 10**9))
"""Ranges of the evaluations that Picard takes, by which inverses are grouped."""


@click.group()
def main():
    """Measures the inverse."""


@main.command()
@_sources
@_count
@_tolerance
@_out
def evaluations(sources, count, tolerance, out):
    """Counts evaluations of g for each block and sample, by solver and by what Picard takes."""
    _show("one_evaluations", sources, count, tolerance, out=out)


@main.command()
@_sources
@_count
@_tolerance
@click.option("--rounds", default=3)
@_out
def sampling(sources, count, tolerance, rounds, out):
    """Measures samples per second of whole batches, by solver."""
    _show("one_sampling", sources, count, tolerance, rounds, out=out)


@main.command()
@_sources
@_count
@click.option(
    "--asked", default="1e-1,1e-2,1e-3", help="Tolerances of the whole, separated by commas."
)
@_out
def tolerance(sources, count, asked, out):
    """Measures errors and evaluations for a tolerance of the whole, against solvers at 1e-6."""
    _show("one_tolerance", sources, count, asked, out=out)


@main.command()
@_sources
@click.option("--count", default=8, help="Paths.")
@click.option("--steps", default="9,33", help="Points of a path; separated by commas.")
@click.option("--rounds", default=5)
@_out
def paths(sources, count, steps, rounds, out):
    """Inverts points along paths in latent space, from their neighbours and alone."""
    _show("one_paths", sources, count, steps, rounds, out=out)


def _show(kind, sources, *options, out):
    rows = []
    for source in sources:
        rows += measuring.in_fresh_process(__file__, "one", kind, source, json.dumps(options))
    measuring.show(rows, out)


@main.command(hidden=True)
@click.argument("kind")
@click.argument("source")
@click.argument("options")
def one(kind, source, options):
    measuring.set_threads(1)
    rows = _ONE[kind](_model(source), *json.loads(options))
    print(json.dumps([{"model": pathlib.Path(source).name, **row} for row in rows]))


def one_evaluations(model, count, tolerance):
    from iresnet_tf.analysis.block_inputs import block_inputs

    taken = collections.defaultdict(list)
    for block, x in block_inputs(model.flow, _samples(model, count)):
        y = block(x)
        for name, solver in _solvers(tolerance).items():
            block.solver = solver
            found = block.inverse(y, lipschitz=0.0)
            taken[name].append(found.iterations.numpy())
            taken[name, "converged"].append(found.converged.numpy())
    taken = {name: np.concatenate(each) for name, each in taken.items()}
    picard, anderson = taken["Picard"], taken["Anderson"]
    rows = []
    for low, high in CLASSES:
        here = (picard >= low) & (picard < high)
        if not here.any():
            continue
        ratio = anderson[here] / picard[here]
        rows.append(
            {
                "Picard takes": f"{low}–{high - 1}" if high < 10**9 else f"≥ {low}",
                "inverses": int(here.sum()),
                "Picard": float(picard[here].mean()),
                "Anderson": float(anderson[here].mean()),
                "ratio": float(ratio.mean()),
                "95 % below": float(np.quantile(ratio, 0.95)),
                "largest": float(ratio.max()),
                "most above Picard": int((anderson - picard)[here].max()),
                "converged, Picard": float(taken["Picard", "converged"][here].mean()),
                "converged, Anderson": float(taken["Anderson", "converged"][here].mean()),
            }
        )
    return rows


def one_sampling(model, count, tolerance, rounds):
    from iresnet_tf.layers import residual_blocks

    row, calls = {"samples": count}, {}
    latent = model.prior.sample(count, temperature=1.0, seed=[0, 0])
    for name, solver in _solvers(tolerance).items():

        def call(solver=solver):
            for block in residual_blocks(model.flow):
                block.solver = solver
            return model.decode(latent).numpy()

        calls[name] = call
        start = time.process_time()
        call()
        row[f"{name}, first call, CPU s"] = time.process_time() - start
    for name, taken in measuring.alternating(calls, rounds).items():
        row[f"{name}, samples a CPU s"] = count / taken["cpu"]
    return [row]


def one_tolerance(model, count, asked):
    from iresnet_tf.layers import residual_blocks

    latent = model.prior.sample(count, temperature=1.0, seed=[0, 0])
    for block in residual_blocks(model.flow):
        block.solver = _solvers(1e-6)["Anderson"]
    exact = model.flow.inverse(latent)
    rows = []
    for text in ("", *asked.split(",")):
        found = model.flow.inverse(latent, tolerance=float(text)) if text else exact
        square = np.square((found.x - exact.x).numpy().reshape(count, -1).astype(np.float64))
        rows.append(
            {
                "asked": text or "(1e-6 a block)",
                "largest RMS error": float(np.sqrt(square.mean(1)).max()),
                "evaluations": float(found.iterations.numpy().mean()),
                "converged": float(found.converged.numpy().mean()),
                "certified error": float(found.error_bound.numpy().max()),
            }
        )
    return rows


def one_paths(model, count, steps, rounds):
    import tensorflow as tf

    from iresnet_tf.layers import residual_blocks

    blocks = len(residual_blocks(model.flow))
    decode = tf.function(model.decode, autograph=False)
    decode_paths = tf.function(model.decode_paths, autograph=False)
    rows = []
    for points in map(int, steps.split(",")):
        for kind, z in _paths(model, count, points).items():
            calls = {
                "one after the other": lambda z=z: [decode(each) for each in tf.unstack(z, axis=1)],
                "one batch": lambda z=z: decode(tf.reshape(z, [-1, *z.shape[2:]])),
                "from neighbours": lambda z=z: decode_paths(z),
            }
            row = {"along": kind, "points": points}
            flat = tf.reshape(z, [-1, *z.shape[2:]])
            for name, options in (("alone", {}), ("from neighbours", {"path_steps": points})):
                iterations = model.flow.inverse(flat, **options).iterations.numpy()
                row[f"evaluations a block, {name}"] = float(iterations.mean()) / blocks
            taken = measuring.alternating(calls, rounds)
            row["one batch, CPU s"] = alone = taken["one batch"]["cpu"]
            row["one after the other"] = taken["one after the other"]["cpu"] / alone
            row["from neighbours"] = taken["from neighbours"]["cpu"] / alone
            rows.append(row)
    return rows


def _paths(model, count, points):
    """Returns straight lines between samples, and samples at temperatures from 0.5 to 1."""
    import tensorflow as tf

    a, b = (model.prior.sample(count, temperature=1.0, seed=[seed, 0]) for seed in (0, 1))
    fractions = np.linspace(0.0, 1.0, points)
    warmer = [model.prior.sample(count, temperature=0.5 + 0.5 * t, seed=[0, 0]) for t in fractions]
    lines = [(1.0 - t) * a + t * b for t in fractions]
    return {"lines": tf.stack(lines, 1), "temperatures": tf.stack(warmer, 1)}


_ONE = {
    "one_evaluations": one_evaluations,
    "one_sampling": one_sampling,
    "one_tolerance": one_tolerance,
    "one_paths": one_paths,
}


def _solvers(tolerance):
    from iresnet_tf import solvers

    return {
        "Picard": solvers.Picard(tolerance, 5000),
        "Anderson": solvers.Anderson(tolerance, 5000),
    }


def _model(source):
    import workloads

    import iresnet_tf as irn

    if source not in workloads.WORKLOADS:
        return irn.load(source)
    model, _ = workloads.make(source, workloads.estimator("5"))
    workloads.skip_initialisation(model)
    return model


def _samples(model, count):
    return model.decode(model.prior.sample(count, temperature=1.0, seed=[0, 0]))


if __name__ == "__main__":
    main()
