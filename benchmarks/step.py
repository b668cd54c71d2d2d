"""Measures a training step: its time, its memory, and the time to the first step.

    python benchmarks/step.py time   --workload cifar-small --terms 1,5,10,20,roulette
    python benchmarks/step.py memory --workload cifar-small --terms 2,20
    python benchmarks/step.py first  --workload cifar-published --batch-size 8

Each prints a table, and ``--out FILE`` writes it as JSON. Each figure comes from a new process.
Variants that are compared alternate in one process.
"""

import json
import statistics
import time

import click
import measuring
import workloads

_workload = click.option(
    "--workload", type=click.Choice(list(workloads.WORKLOADS)), default="cifar-small"
)
_batch = click.option("--batch-size", type=int, help="By default the preset's.")
_threads = click.option("--threads", type=int, default=1, help="Threads of TensorFlow, 0 for all.")
_inside = click.option(
    "--inside", default=1, help="Threads of one operation; with 1, threads share the batch."
)
_terms = click.option("--terms", default="1,5,10,20,roulette", help="Separated by commas.")
_out = click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")


# The model as it is; with blocks recomputed in the backward pass; and also in four parts.
_OURS = ("ours", "recompute", "four parts")
# The series in bfloat16; log-determinants of a quarter of the batch; products of all kinds in
# bfloat16; and both of these.
_CHEAPER = ("series", "quarter", "products", "quarter, products")


@click.group()
def main():
    """Measures training steps."""


@main.command(name="time")
@_workload
@_batch
@_threads
@_inside
@_terms
@click.option("--rounds", default=7)
@click.option("--plain/--no-plain", default=True, help="Whether the plain form runs too.")
@_out
def step_time(workload, batch_size, threads, inside, terms, rounds, plain, out):
    """Compares wall and CPU seconds of a step with the plain form and the floor."""
    rows = [
        measuring.in_fresh_process(
            *(__file__, "one-time", workload, batch_size or 0, threads, inside, spec, rounds),
            int(plain and spec != "roulette"),
        )
        for spec in terms.split(",")
    ]
    measuring.show(rows, out)


@main.command(name="memory")
@_workload
@_batch
@_threads
@_inside
@_terms
@click.option("--repeats", default=3)
@click.option("--plain/--no-plain", default=True, help="Whether the plain form runs too.")
@_out
def step_memory(workload, batch_size, threads, inside, terms, repeats, plain, out):
    """Measures the peak memory of steps above that after import and build, in MB (10⁶ bytes)."""
    rows = []
    for spec in terms.split(","):
        row = {"workload": workload, "terms": spec}
        kinds = (*_OURS, "plain") if plain and spec != "roulette" else _OURS
        for kind in kinds:
            taken = [
                measuring.in_fresh_process(
                    __file__, "one-memory", workload, batch_size or 0, threads, inside, spec, kind
                )
                for _ in range(repeats)
            ]
            row[f"{kind} MB"] = statistics.median(taken)
        rows.append(row)
    measuring.show(rows, out)


@main.command(name="first")
@_workload
@_batch
@_threads
@_inside
@click.option("--terms", default="5")
@click.option(
    "--initial", default=0, help="Examples of ActNorm's initialisation, which is measured last."
)
@_out
def first_step(workload, batch_size, threads, inside, terms, initial, out):
    """Measures seconds from the start to the end of the first step, by stage, with floors."""
    rows = [
        measuring.in_fresh_process(
            *(__file__, "one-first", workload, batch_size or 0, threads, inside, spec, initial)
        )
        for spec in terms.split(",")
    ]
    measuring.show(rows, out)


def _arguments(*names):
    def decorate(function):
        for name in reversed(names):
            function = click.argument(name, type=int if name in _NUMBERS else str)(function)
        return main.command(hidden=True)(function)

    return decorate


_NUMBERS = {"batch_size", "threads", "inside", "rounds", "plain", "initial"}


@_arguments("workload", "batch_size", "threads", "inside", "spec", "rounds", "plain")
def one_time(workload, batch_size, threads, inside, spec, rounds, plain):
    measuring.set_threads(threads, inside)
    calls = {}
    calls["products"], operations = measuring.matrix_products()
    for kind in (*_OURS, *_CHEAPER):
        calls[kind], model, size = _step(workload, batch_size, spec, kind)
    if plain:
        calls["plain"], *_ = _step(workload, batch_size, spec, "plain")
    batch_size = size
    taken = measuring.alternating(calls, rounds)
    row = {"workload": workload, "batch": batch_size, "threads": threads or "all", "terms": spec}
    row |= {"wall s": taken["ours"]["wall"], "CPU s": taken["ours"]["cpu"]}
    for kind in (*_OURS[1:], *_CHEAPER):
        row[f"{kind} / ours (CPU)"] = taken[kind]["cpu"] / row["CPU s"]
    if plain:
        row["plain / ours (CPU)"] = taken["plain"]["cpu"] / row["CPU s"]
        row["plain / ours (wall)"] = taken["plain"]["wall"] / row["wall s"]
    if spec != "roulette":
        rate = operations / taken["products"]["wall"]
        floor = workloads.floor_flops(model, batch_size, int(spec)) / rate
        row |= {"floor s": floor, "wall / floor": row["wall s"] / floor}
        row["product GFLOP/s"] = rate / 1e9
    print(json.dumps(row))


@_arguments("workload", "batch_size", "threads", "inside", "spec", "kind")
def one_memory(workload, batch_size, threads, inside, spec, kind):
    measuring.set_threads(threads, inside)
    step, *_ = _step(workload, batch_size, spec, kind)
    base = measuring.resident_bytes()
    measuring.reset_peak()
    for _ in range(5):
        step()
    print(json.dumps((measuring.resident_bytes(peak=True) - base) / 1e6))


@_arguments("workload", "batch_size", "threads", "inside", "spec", "initial")
def one_first(workload, batch_size, threads, inside, spec, initial):
    measuring.set_threads(threads, inside)
    imported = measuring.seconds_since_start()
    step, model, batch_size = _step(workload, batch_size, spec, "ours")
    built = measuring.seconds_since_start()
    step()
    first = measuring.seconds_since_start()
    start = time.perf_counter()
    step()
    steady = time.perf_counter() - start
    row = {"workload": workload, "batch": batch_size, "terms": spec}
    row |= {"import s": imported, "build s": built - imported}
    row |= {"first step s": first - built, "steady step s": steady}
    row["start to first step s"] = first
    rate = measuring.product_rate()
    if spec != "roulette":
        row["floor of a step s"] = workloads.floor_flops(model, batch_size, int(spec)) / rate
    if initial:
        workloads.skip_initialisation(model, False)
        examples = workloads.WORKLOADS[workload][2].batch(initial)
        start = time.perf_counter()
        model.initialize(examples)
        row["initialisation s"] = time.perf_counter() - start
        row["its floor s"] = workloads.evaluation_flops(model, initial) / rate
    print(json.dumps(row))


def _step(workload, batch_size, spec, kind):
    """Returns a call that takes one training step, its model and the batch size."""
    import tensorflow as tf

    from iresnet_tf.layers import residual_blocks
    from iresnet_tf.layers.economy import Economy

    series = workloads.estimator(spec, "bfloat16" if kind == "series" else None)
    model, batch = workloads.make(workload, series, batch_size or None)
    workloads.skip_initialisation(model)
    for block in residual_blocks(model.flow) if kind in _OURS[1:] else ():
        block.recompute = True
    share, product = "quarter" in kind, "products" in kind
    model.economy = Economy(0.25 if share else 1.0, "bfloat16" if product else None)
    model.accumulation_steps = 4 if kind == "four parts" else 1
    if kind == "plain":
        from plain import make_plain

        make_plain(model)
    model.make_train_function()
    data = tf.data.Dataset.from_tensors(batch).repeat()
    batches = iter(data)

    def step():
        # Conversion to numbers waits for the end of the step.
        return {name: float(value) for name, value in model.train_function(batches).items()}

    return step, model, len(batch)


if __name__ == "__main__":
    main()
