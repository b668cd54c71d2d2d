"""Compares the price of training steps: series, Krylov spaces, shares, bfloat16, a classifier.

    python benchmarks/price.py --workload cifar-small

All variants alternate in one process, on one thread; with ``--apart`` each has its own process,
and they take their steps in turn.  The classifier has the layers of the density model and one head;
its step has neither Jacobian products nor log-determinants.  Ratios are medians over the rounds, of
CPU seconds.
"""

import contextlib
import statistics
import subprocess
import sys
import time

import click
import measuring
import workloads

from iresnet_tf.numerics.log_det import Krylov, PowerSeries

QUARTER, EIGHTH, SIXTEENTH = ({"log_det_share": 1 / n} for n in (4, 8, 16))
LOW = {"product_dtype": "bfloat16"}

VARIANTS = {
    "5 terms": (PowerSeries(5), {}),
    "10 terms": (PowerSeries(10), {}),
    "3 products": (Krylov(3), {}),
    "6 products": (Krylov(6), {}),
    "5 terms, quarter": (PowerSeries(5), QUARTER),
    "3 products, quarter": (Krylov(3), QUARTER),
    "6 products, quarter": (Krylov(6), QUARTER),
    "3 products, eighth": (Krylov(3), EIGHTH),
    "6 products, eighth": (Krylov(6), EIGHTH),
    "3 products, sixteenth": (Krylov(3), SIXTEENTH),
    "6 products, sixteenth": (Krylov(6), SIXTEENTH),
    "3 products, quarter, bfloat16": (Krylov(3), {**QUARTER, **LOW}),
    "6 products, quarter, bfloat16": (Krylov(6), {**QUARTER, **LOW}),
    "3 products, eighth, bfloat16": (Krylov(3), {**EIGHTH, **LOW}),
    "6 products, eighth, bfloat16": (Krylov(6), {**EIGHTH, **LOW}),
    "3 products, sixteenth, bfloat16": (Krylov(3), {**SIXTEENTH, **LOW}),
    "6 products, sixteenth, bfloat16": (Krylov(6), {**SIXTEENTH, **LOW}),
    "classifier": (None, {}),
    "classifier, bfloat16": (None, LOW),
}


@click.command()
@click.option("--workload", type=click.Choice(list(workloads.WORKLOADS)), default="cifar-small")
@click.option("--batch-size", type=int, help="By default the preset's.")
@click.option("--rounds", default=9)
@click.option("--variants", help="Some names of variants, separated by semicolons.")
@click.option("--apart", is_flag=True, help="Runs each variant in a process of its own.")
@click.option("--serve", is_flag=True, hidden=True)
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def main(workload, batch_size, rounds, variants, apart, serve, out):
    """Prints a row for each variant."""
    names = variants.split(";") if variants else list(VARIANTS)
    with contextlib.ExitStack() as stack:
        if apart:
            arguments = ["--workload", workload, "--batch-size", str(batch_size or 0)]
            steps = {name: _in_a_process(stack, name, arguments) for name in names}
        else:
            measuring.set_threads(1)
            steps = {name: _timed(_step(workload, batch_size, *VARIANTS[name])) for name in names}
        for step in steps.values():
            step()
        if serve:
            _serve(steps[variants])
            return
        seconds = {name: [] for name in names}
        for _ in range(rounds):
            for name, step in steps.items():
                seconds[name].append(step())
    rows = []
    for name, taken in seconds.items():
        row = {"step": name, "CPU s": statistics.median(taken)}
        for base in ("5 terms", "10 terms", "classifier"):
            if base in seconds:
                ratios = [one / other for one, other in zip(taken, seconds[base])]
                row[f"/ {base}"] = statistics.median(ratios)
        rows.append(row)
    measuring.show(rows, out)


def _timed(step):
    """Returns a call that takes a step and returns its CPU seconds."""

    def timed():
        start = time.process_time()
        step()
        return time.process_time() - start

    return timed


def _in_a_process(stack, name, arguments):
    """Returns a call that has a process of its own take a step, and returns its CPU seconds."""
    command = [sys.executable, __file__, *arguments, "--variants", name, "--serve"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = stack.enter_context(subprocess.Popen(command, **pipes))

    def step():
        print(file=process.stdin, flush=True)
        return float(process.stdout.readline())

    return step


def _serve(step):
    """Takes a step for each line of the standard input, and prints its CPU seconds."""
    for _ in sys.stdin:
        print(step(), flush=True)


def _step(workload, batch_size, estimator, options):
    """Returns a call that takes one training step of the workload."""
    import numpy as np
    import tensorflow as tf

    if estimator is None:
        model, x = workloads.make_classifier(workload, batch_size, **options)
        y = np.random.default_rng(0).integers(0, 10, len(x))
        data = tf.data.Dataset.from_tensors((x, y))
    else:
        model, x = workloads.make(workload, estimator, batch_size, **options)
        data = tf.data.Dataset.from_tensors(x)
    workloads.skip_initialisation(model)
    model.make_train_function()
    batches = iter(data.repeat())

    def step():
        # Conversion to numbers waits for the end of the step.
        return {name: float(value) for name, value in model.train_function(batches).items()}

    return step


if __name__ == "__main__":
    main()
